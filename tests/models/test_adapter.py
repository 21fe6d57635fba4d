"""Specs, adapters and what stands for a model."""

from inspect import unwrap

import pytest
import torch
from torch import nn

import vitdecomp as vd
from vitdecomp.models.adapter import ADAPTERS, adapters, as_loaded


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class Toys(vd.Adapter):
    prefix = "toys"

    def load(self, name, *, pretrained, **options):
        if name != "mean":
            raise vd.SpecError(f"no toy {name!r}")
        return vd.LoadedModel(Mean(), None, f"toys:{name}", pretrained=pretrained)

    def recognise(self, module):
        return vd.LoadedModel(module, None, "toys:mean") if isinstance(module, Mean) else None


@pytest.fixture
def toys():
    vd.register_adapter(Toys)
    yield
    ADAPTERS.remove("toys")


def test_a_registered_adapter_is_found_by_its_prefix(toys):
    loaded = vd.load_model("toys:mean", pretrained=False)
    assert torch.equal(loaded.representation()(torch.ones(2, 3, 4, 4)), torch.ones(2, 3))
    assert not loaded.pretrained


def test_without_registration_it_is_not():
    with pytest.raises(vd.SpecError, match="no adapter 'toys'"):
        vd.load_model("toys:mean")


def test_a_prefix_is_taken_once(toys):
    class Others(Toys):
        pass

    with pytest.raises(vd.SpecError, match="registered already"):
        vd.register_adapter(Others)
    vd.register_adapter(Others, replace=True)
    assert isinstance(adapters()["toys"], Others)


def test_a_module_is_recognised_by_its_adapter(toys):
    module = Mean()
    assert as_loaded(module).spec == "toys:mean"
    assert as_loaded(module).module is module


def test_a_module_of_no_library_stands_for_itself():
    loaded = as_loaded(Mean())
    assert loaded.spec.startswith("python:")
    assert list(loaded.outputs) == ["embedding"]


def test_the_adapters_of_the_distribution_are_found_by_entry_point():
    assert {"timm", "open_clip", "torchvision", "hf", "python"} <= set(adapters())


@pytest.mark.parametrize("spec", ["", "timm", "timm:", ":name", "vit_base"])
def test_a_spec_has_two_parts(spec):
    with pytest.raises(vd.SpecError, match=r"library:name|no adapter"):
        vd.load_model(spec)


def test_a_misspelt_library_is_suggested():
    with pytest.raises(vd.SpecError, match="did you mean timm"):
        vd.load_model("tim:vit_base_patch16_224")


@pytest.mark.parametrize("model", [3, None, Mean])
def test_a_model_is_a_module_a_loaded_model_or_a_spec(model):
    with pytest.raises(vd.SpecError, match=r"a model is an nn\.Module"):
        unwrap(as_loaded)(model)  # the types are checked before the function's own check while tests run


def test_an_output_that_is_not_offered_is_refused():
    with pytest.raises(vd.SpecError, match="no output 'logit'; did you mean logits"):
        vd.LoadedModel(Mean(), None, "x", {"embedding": Mean(), "logits": Mean()}).representation("logit")


def test_the_representation_does_not_touch_the_flags_of_the_model():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train()
    model[0].eval()
    representation = vd.Representation(model, lambda m, x: m(x).mean((2, 3)))
    assert representation.training
    assert [m.training for m in model] == [False, True]
