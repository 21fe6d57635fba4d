"""Wrappers that only pass images on are looked through; all others are left to their users."""

import pytest
import torch
from helpers import pictures
from timm.utils import ModelEmaV2, ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel

import vitdecomp as vd
from vitdecomp.models.wrappers import PASSES_TO, unwrapped

X = pictures(1, 32)


class Doubled(nn.DataParallel):
    """A wrapper of known kind with a `forward` of its own."""

    def forward(self, x):
        return 2 * self.module(x)


class Renamed(nn.DataParallel):
    """The same without one."""


class Own(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.model = inner

    def forward(self, x):
        return 2 * self.model(x)


class PeftModel(nn.Module):
    """The structure of PEFT's wrapper, which is not installed here."""

    def __init__(self, inner, prompts=False):
        super().__init__()
        self.base_model = Own(inner)
        self.peft_config = {"default": type("Config", (), {"is_prompt_learning": prompts})}

    def forward(self, x):
        return self.base_model.model(x)


PeftModel.__module__ = "peft.peft_model"


def parallel(model):
    with torch.no_grad():
        return nn.DataParallel(model)


PASSING = {
    "compiled": torch.compile,
    "parallel": parallel,
    "moving average": ModelEmaV3,
    "moving average 2": ModelEmaV2,
    "average": AveragedModel,
    "sequence of one": nn.Sequential,
    "subclass": Renamed,
    "low rank": PeftModel,
    "nested": lambda model: torch.compile(nn.Sequential(nn.DataParallel(model))),
}
ACTING = {
    "subclass": Doubled,
    "own": Own,
    "sequence of two": lambda model: nn.Sequential(nn.Identity(), model),
    "prompts": lambda model: PeftModel(model, prompts=True),
}


@pytest.fixture
def classifier(tiny_vit):
    tiny_vit.reset_classifier(7)
    return tiny_vit.double().eval()


@pytest.mark.parametrize("name", PASSING)
def test_a_wrapper_that_passes_on_is_looked_through(name, classifier):
    loaded = vd.load_model(PASSING[name](classifier))
    assert torch.equal(loaded.representation("logits")(X), classifier(X))
    assert loaded.representation()(X).shape == (1, 48)  # and not 7 logits
    assert [path for path, _ in loaded.module.named_modules()] == [path for path, _ in classifier.named_modules()]


def test_what_a_wrapper_holds_is_decomposed(classifier):
    got, expected = (vd.Decomposer(m).fit_transform(X) for m in (PASSING["nested"](classifier), classifier))
    assert got.components == expected.components  # no prefix of the wrapper in any name
    assert torch.equal(got.values, expected.values)


@pytest.mark.parametrize("name", ACTING)
def test_a_wrapper_that_does_something_stays(name, tiny_vit):
    wrapper = ACTING[name](tiny_vit)
    assert unwrapped(wrapper) is wrapper
    assert vd.load_model(wrapper).module is wrapper


def test_a_wrapper_with_a_hook_does_something(tiny_vit):
    wrapper = nn.Sequential(tiny_vit)
    handle = wrapper.register_forward_hook(lambda module, args, output: 2 * output)
    assert unwrapped(wrapper) is wrapper
    handle.remove()
    assert unwrapped(wrapper) is tiny_vit


def test_the_names_of_wrappers_are_those_of_their_classes(tiny_vit):
    made = (torch.compile(tiny_vit), parallel(tiny_vit), ModelEmaV2(tiny_vit), ModelEmaV3(tiny_vit))
    for wrapper in (*made, AveragedModel(tiny_vit)):
        assert f"{type(wrapper).__module__}.{type(wrapper).__qualname__}" in PASSES_TO
    kind = nn.parallel.DistributedDataParallel
    assert f"{kind.__module__}.{kind.__qualname__}" in PASSES_TO


def test_a_model_inside_a_module_of_ones_own_is_pointed_at(tiny_vit):
    tiny_vit.reset_classifier(7)
    loaded = vd.load_model(Own(tiny_vit.double().eval()))
    assert len(loaded.notes) == 1
    assert "Own.model is a timm model" in loaded.notes[0]
    report = vd.Decomposer(loaded).fit(X).report_
    assert report.dimension == 7
    assert loaded.notes[0] in str(report)


def test_a_model_that_is_compiled_in_place_is_not_compiled_for_a_trial(classifier):
    def never(graph, inputs):
        raise AssertionError("compiled")

    expected = classifier(X)
    classifier.compile(backend=never)
    dec = vd.Decomposer(Own(classifier)).fit(X)
    assert torch.allclose(dec.represent(X), 2 * expected, rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("inside", [False, True])
def test_torchscript_is_one_line(inside):
    scripted = torch.jit.trace(nn.Conv2d(3, 3, 1).double(), X, check_trace=False)
    module = nn.Sequential(nn.Identity(), scripted) if inside else scripted
    for use in (
        vd.load_model,
        lambda m: vd.Decomposer(m).fit(X),
        lambda m: vd.LoadedModel(m, None, "x").representation(),
    ):
        with pytest.raises(vd.SpecError, match=r"is TorchScript.*make the model from its source") as caught:
            use(module)
        assert "\n" not in str(caught.value)


def test_a_part_that_gives_no_vector_does_not_disturb_the_whole(monkeypatch):
    def refuse(self, module):
        if isinstance(module, nn.Conv2d):
            raise vd.SpecError("no vector")

    monkeypatch.setattr("vitdecomp_adapters.timm.TimmAdapter.recognise", refuse)
    assert vd.load_model(Own(nn.Conv2d(3, 3, 1))).notes == ()
