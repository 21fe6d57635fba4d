"""Which part of what a model returns is decomposed."""

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp.models.outputs import fingerprint, name_of

X = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Pair = namedtuple("Pair", "features tokens")


@dataclass
class Result:
    features: Tensor
    tokens: Tensor


class Many(nn.Module):
    """Returns features, tokens, and something deeper, in a structure of one's choice."""

    def __init__(self, structure=lambda features, tokens: {"features": features, "tokens": tokens}):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, 4).double()
        self.structure = structure

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        return self.structure(tokens.mean(1), tokens)


STRUCTURES = {
    "dict": (lambda f, t: {"tokens": t, "features": f}, "features"),
    "dict with numbers": (lambda f, t: {0: t, 1: f}, 1),
    "dict with dots": (lambda f, t: {"a.b": f, "a": {"b": t}}, "a.b"),
    "nested": (lambda f, t: {"out": {"features": f}, "tokens": t}, "out.features"),
    "tuple": (lambda f, t: (f, t), 0),
    "list, from the end": (lambda f, t: [t, f], "-1"),
    "named tuple": (Pair, "features"),
    "named tuple by index": (Pair, 0),
    "data class": (Result, "features"),
    "tuple of dicts": (lambda f, t: (t, {"features": f}), "1.features"),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_part_is_taken(name):
    structure, key = STRUCTURES[name]
    model = Many(structure).eval()
    plain = Many()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(vd.load_model(model).representation(key)(X), plain(X)["features"])


def test_a_part_is_decomposed_exactly():
    model = Many(STRUCTURES["nested"][0]).eval()
    dec = vd.Decomposer(model, output="out.features").fit(X)
    assert torch.allclose(dec.transform(X).total(), model(X)["out"]["features"], rtol=1e-12, atol=0)
    assert dec.report_.output == dec.origin_.output == "out.features"


@pytest.mark.parametrize(
    ("structure", "shown", "advice"),
    [
        (STRUCTURES["dict"][0], r"a dict with 'tokens': \(3, 4, 4\), 'features': \(3, 4\)", "output='features'"),
        (STRUCTURES["tuple"][0], r"a tuple with 0: \(3, 4\), 1: \(3, 4, 4\)", "output=0 "),
        (Pair, r"a Pair with 'features': \(3, 4\)", "output='features'"),
        (lambda f, t: {"tokens": t}, r"'tokens': \(3, 4, 4\)", r"a function \(model, images\)"),
        (lambda f, t: t, r"a tensor \(3, 4, 4\)", r"positions=, or in brackets: NAME\[0\]"),
        (lambda f, t: None, "a NoneType", r"a function \(model, images\)"),
    ],
)
def test_a_model_that_returns_no_vector_is_told_how_to_say_which(structure, shown, advice):
    with pytest.raises(vd.InputError, match=f"Many must return one vector.*{shown}.*{advice}") as caught:
        vd.Decomposer(Many(structure).eval()).fit(X)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["feature", "features.x", 2, "-3", "2"])
@pytest.mark.parametrize("structure", ["dict", "tuple"])
def test_a_part_that_is_not_there_is_named_with_what_is(structure, key):
    with pytest.raises(vd.InputError, match=f"no output '{key}': it returns a .*features|0: ") as caught:
        vd.Decomposer(Many(STRUCTURES[structure][0]).eval(), output=key).fit(X)
    assert "\n" not in str(caught.value)


def test_a_function_makes_the_vector():
    model = Many().eval()
    dec = vd.Decomposer(model, output=lambda m, x: m(x)["tokens"][:, 1]).fit(X)
    assert torch.allclose(dec.transform(X).total(), model(X)["tokens"][:, 1], rtol=1e-12, atol=0)
    assert "test_outputs" in dec.origin_.output


@pytest.mark.parametrize("wrong", [lambda x: x, lambda: 0, lambda m, x, more: x])
def test_a_function_of_other_arguments_is_refused_in_one_line(wrong):
    with pytest.raises(vd.SpecError, match=r"output= is a function \(module, images\) -> \(n, d\)") as caught:
        vd.Decomposer(Many().eval(), output=wrong).fit(X)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fine", [lambda m, x: m(x)["tokens"][:, 1], lambda *both: both[0](both[1])["tokens"][:, 1]])
def test_a_function_may_write_its_arguments_as_it_likes(fine):
    assert vd.Decomposer(Many().eval(), output=fine).fit(X).report_.exact


def test_a_known_model_keeps_its_outputs_to_itself(tiny_vit):
    with pytest.raises(vd.SpecError, match="no output 'logit'; did you mean logits"):
        vd.Decomposer(tiny_vit, output="logit").fit(X)


def scaled(factor):
    return lambda m, x: m(x) * factor


FACTOR = 2


def by_setting(m, x):
    return m(x) * FACTOR


def test_functions_that_compute_something_else_have_other_names(monkeypatch):
    same = name_of(scaled(2.0)), name_of(scaled(2.0))
    assert same[0] == same[1]
    weights = torch.ones(3)
    others = [scaled(3.0), scaled(weights), scaled(2 * weights), lambda m, x: m(x), lambda m, x: m(x).abs(), scaled]
    assert len({name_of(f) for f in [scaled(2.0), *others]}) == 7
    before = fingerprint(by_setting)
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "FACTOR", 3)
        assert fingerprint(by_setting) != before
    assert fingerprint(by_setting) == before


def test_a_module_is_known_by_its_weights():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    assert fingerprint(scaled(one)) != fingerprint(scaled(two))
    two.load_state_dict(one.state_dict())
    assert fingerprint(scaled(one)) == fingerprint(scaled(two))


class Selector:
    def __init__(self, place):
        self.place = place
        self.itself = self

    def __call__(self, m, x):
        return m(x)[:, self.place]

    def method(self, m, x):
        return self(m, x)


def test_objects_are_known_by_what_they_hold():
    assert name_of(Selector(1)) == name_of(Selector(1)) != name_of(Selector(2))
    assert name_of(Selector(1).method) == name_of(Selector(1).method) != name_of(Selector(2).method)
