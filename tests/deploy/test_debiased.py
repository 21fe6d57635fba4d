"""The debiased module: the same logits as the cleaned representation, and a model that knows nothing of it."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import pictures
from safetensors.torch import load_file, save_file
from torch import nn

import vitdecomp as vd
from vitdecomp.ablation import LinearHead
from vitdecomp.deploy.debiased import Debiased
from vitdecomp.testing import untouched
from vitdecomp.units import PrincipalDirections

SOME = ["blocks.0.attn.head.1", "blocks.2.attn.head.*", "blocks.1.mlp"]


def linear_head(d: int, seed: int = 0) -> LinearHead:
    source = torch.Generator().manual_seed(seed)
    return LinearHead(torch.randn(3, d, generator=source), torch.randn(3, generator=source))


@pytest.fixture
def fitted(tiny_vit: nn.Module):
    dec = vd.Decomposer(tiny_vit).fit(pictures(1, 32))
    return dec, dec.transform(pictures(6, 32, seed=2))


@pytest.mark.parametrize("value", ["mean", "zero"])
@pytest.mark.parametrize("texts", [None, 3], ids=["whole", "subspace"])
def test_logits_are_those_of_the_cleaned_representation(fitted, value, texts):
    dec, c = fitted
    cue = None if texts is None else torch.randn(texts, 48, dtype=torch.float64)
    ablator = vd.Ablator(SOME, value=value, directions=cue).fit(c)
    head = linear_head(48)
    module = vd.debiased(dec, ablator, head)
    for n in (1, 2, 5):
        x = pictures(n, 32, seed=n)
        expected = head(ablator.transform(dec.transform(x)).total())
        assert torch.allclose(module(x), expected, rtol=0, atol=1e-10)
        assert not torch.allclose(module(x), head(dec.represent(x)), atol=1e-3)


def test_removed_units_are_subspaces_of_their_components(fitted):
    """Directions, a rest, a component with all of its units and one that is not split."""
    dec, c = fitted
    split = PrincipalDirections(k=3).fit(c).directions_
    del split.bases[next(one for one in split.components if one.name == "blocks.1.mlp")]
    names = ["blocks.0.attn.head.1.dir.0", "blocks.2.attn.head.0.rest", "blocks.2.attn.head.1.*", "blocks.1.mlp"]
    for some in (names[:1], names):
        ablator = vd.Ablator(some).fit(split.transform(c))
        module, x = vd.debiased(dec, ablator, directions=split), pictures(3, 32, seed=5)
        expected = ablator.transform(split.transform(dec.transform(x))).total()
        assert torch.allclose(module(x), expected, rtol=0, atol=1e-5)  # directions are float32
        assert not torch.allclose(module(x), dec.represent(x), atol=1e-3)
    with pytest.raises(vd.SpecError, match="units are removed whole"):
        vd.debiased(dec, vd.Ablator(some, directions=torch.randn(2, 48)).fit(split.transform(c)), directions=split)


def test_without_a_head_it_is_the_cleaned_representation(fitted):
    dec, c = fitted
    ablator, x = vd.Ablator(SOME).fit(c), pictures(2, 32)
    cleaned = ablator.transform(dec.transform(x)).total()
    assert torch.allclose(vd.debiased(dec, ablator)(x), cleaned, atol=1e-10)
    layer = nn.Linear(48, 2, bias=False).double()
    assert torch.allclose(vd.debiased(dec, ablator, layer)(x), layer(cleaned), atol=1e-10)


def test_the_ablation_can_be_taken_out_again(fitted):
    dec, c = fitted
    head, x = linear_head(48), pictures(2, 32)
    module = vd.debiased(dec, vd.Ablator(SOME).fit(c), head)
    cleaned, whole = module(x), head(dec.represent(x))
    with module.handle:
        assert torch.allclose(module(x), whole, atol=1e-10)
    assert torch.equal(module(x), cleaned)
    module.handle.remove()
    assert torch.allclose(module(x), whole, atol=1e-10)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_the_model_stays_as_it_is(tiny_vit, fitted):
    dec, c = fitted
    ablator = vd.Ablator(SOME).fit(c)
    with untouched(tiny_vit):
        module = vd.debiased(dec, ablator, linear_head(48))
        module(pictures(2, 32))
        with torch.no_grad():
            for weight in module.parameters():
                weight.zero_()


def test_weights_come_back_from_a_file(fitted, tmp_path):
    dec, c = fitted
    x, texts = pictures(2, 32), torch.randn(2, 48, dtype=torch.float64)
    module = vd.debiased(dec, vd.Ablator(SOME, directions=texts).fit(c), linear_head(48))
    expected = module(x)
    save_file(module.state_dict(), tmp_path / "debiased.safetensors")
    other = vd.debiased(dec, vd.Ablator(SOME, value="zero", directions=texts.flip(1)).fit(c), linear_head(48, seed=1))
    assert not torch.allclose(other(x), expected)
    other.load_state_dict(load_file(tmp_path / "debiased.safetensors"))
    assert torch.equal(other(x), expected)


def test_only_what_is_needed_is_computed(fitted):
    dec, _ = fitted
    few = [component for component in dec.components_ if component.matches("blocks.2.mlp")]
    everything, part = dec.subset(dec.components_), dec.subset(few)
    assert len(part.program.gates) < len(everything.program.gates) / 2
    x = pictures(3, 32)
    c = dec.transform(x)
    assert torch.allclose(everything(x)[1], c.values, atol=1e-10)
    assert torch.allclose(part(x)[1], c.select("blocks.2.mlp").values, atol=1e-10)


def test_what_cannot_be_exported(fitted, tiny_vit):
    dec, c = fitted
    ablator = vd.Ablator(SOME).fit(c)
    with pytest.raises(vd.SpecError, match="needs more than the image"):
        vd.debiased(dec, vd.Ablator(SOME, value="resample").fit(c))
    with pytest.raises(vd.SpecError, match="Ablator is not fitted"):
        vd.debiased(dec, vd.Ablator(SOME))
    with pytest.raises(vd.SpecError, match="Decomposer is not fitted"):
        vd.debiased(vd.Decomposer(tiny_vit), ablator)
    with pytest.raises(vd.InputError, match="head for vectors of 47"):
        vd.debiased(dec, ablator, linear_head(47))
    with pytest.raises(vd.SpecError, match="no component"):
        vd.debiased(vd.Decomposer(tiny_vit, by="block").fit(pictures(1, 32)), ablator)
    with torch.no_grad():
        next(tiny_vit.parameters()).add_(1)
    with pytest.raises(vd.InputError, match="with other weights"):
        vd.debiased(vd.Decomposer(tiny_vit).fit(pictures(1, 32)), ablator)


@pytest.mark.parametrize("texts", [None, 3], ids=["whole", "subspace"])
@pytest.mark.parametrize("head", [True, False], ids=["head", "no head"])
def test_a_file_needs_no_model(fitted, tmp_path, texts, head):
    dec, c = fitted
    cue = None if texts is None else torch.randn(texts, 48, dtype=torch.float64)
    module = vd.debiased(dec, vd.Ablator(SOME, directions=cue).fit(c), linear_head(48) if head else None)
    module.save(tmp_path / "m.safetensors")
    found = Debiased.load(tmp_path / "m.safetensors")
    for n in (1, 3):
        assert torch.equal(found(pictures(n, 32)), module(pictures(n, 32)))
    with found.handle, module.handle:
        assert torch.equal(found(pictures(2, 32)), module(pictures(2, 32)))
    assert found.state_dict().keys() == module.state_dict().keys()
    again = copy.deepcopy(found)
    with torch.no_grad():
        for weight in found.parameters():
            weight.zero_()
    assert torch.equal(again(pictures(2, 32)), module(pictures(2, 32)))
    single = again.float()
    assert torch.allclose(single(pictures(2, 32).float()).double(), module(pictures(2, 32)), atol=1e-3)


def test_weights_have_the_names_of_the_model(fitted, tiny_vit):
    dec, c = fitted
    module = vd.debiased(dec, vd.Ablator(SOME).fit(c), linear_head(48))
    own = {f"model.{name}": value for name, value in tiny_vit.state_dict().items()}
    found = module.state_dict()
    assert found.keys() - own.keys() == {"replacement", "head.weight", "head.bias"}
    assert own.keys() <= found.keys()
    assert all(torch.equal(found[name], value) for name, value in own.items())
    assert {name for name, _ in module.named_parameters()} <= found.keys()


def test_files_of_other_things_are_refused(fitted, tmp_path):
    dec, c = fitted
    dec.save(tmp_path / "d.safetensors")
    with pytest.raises(vd.InputError, match="holds no debiased module"):
        Debiased.load(tmp_path / "d.safetensors")
    vd.debiased(dec, vd.Ablator(SOME).fit(c)).save(tmp_path / "m.safetensors")
    data = bytearray((tmp_path / "m.safetensors").read_bytes())
    data[-9] ^= 4  # in a weight
    (tmp_path / "m.safetensors").write_bytes(data)
    with pytest.raises(vd.InputError, match="damaged"):
        Debiased.load(tmp_path / "m.safetensors")
