"""Models made ready for a command: device, number format, size, weights."""

import pytest
import torch
from torch import nn

import vitdecomp as vd
from vitdecomp.cli.models import list_models
from vitdecomp.extract import parse_by
from vitdecomp.models.adapter import ADAPTERS
from vitdecomp.models.prepare import ModelOptions, prepare


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.scale * x.mean((2, 3))


class Means(vd.Adapter):
    prefix = "means"

    def load(self, name, *, pretrained, **options):
        return vd.LoadedModel(Mean().eval(), None, f"means:{name}", input_size=(3, 8, 8), pretrained=pretrained)

    def names(self, pattern="*"):
        from fnmatch import filter as matching

        return matching(["mean_small", "mean_large"], pattern)


@pytest.fixture(autouse=True)
def means():
    vd.register_adapter(Means)
    yield
    ADAPTERS.remove("means")


def test_trained_weights_are_left_alone_and_random_ones_have_no_ones():
    trained = prepare(ModelOptions("means:a", device="cpu"))
    assert trained.loaded.pretrained
    assert torch.equal(trained.loaded.module.scale, torch.ones(3))
    weights = [
        prepare(ModelOptions("means:a", random_weights=True, device="cpu", seed=seed)).loaded.module.scale
        for seed in (1, 1, 2)
    ]
    assert not (weights[0] == 1).any()
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_images_come_in_the_number_format_of_the_model(dtype):
    prepared = prepare(ModelOptions("means:a", device="cpu", dtype=dtype))
    batch, source = prepared.example(None, 4)
    assert batch.dtype == prepared.loaded.module.scale.dtype == getattr(torch, dtype)
    assert batch.shape == (2, 3, 8, 8)
    assert "china.jpg" in source


@pytest.mark.parametrize(("size", "shape"), [("4", (3, 4, 4)), ("4x6", (3, 4, 6)), ("1x4x6", (1, 4, 6))])
def test_the_image_size_can_be_given(size, shape):
    batch, _ = prepare(ModelOptions("means:a", device="cpu", image_size=size)).example(None, 4)
    assert batch.shape[1:] == shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": "0"}, "image size"),
        ({"image_size": "3x4x5x6"}, "image size"),
        ({"dtype": "int8"}, "no dtype"),
        ({"device": "cpu:x"}, "no device"),
        ({"device": "gpu"}, "no device"),
    ],
)
def test_what_means_nothing_is_refused(change, message):
    with pytest.raises(vd.SpecError, match=message):
        prepare(ModelOptions(**{"model": "means:a", "device": "cpu", **change}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(vd.SpecError, match="device 'cuda' is not available; use --device auto"):
        prepare(ModelOptions("means:a", device="cuda"))


def test_models_are_listed_by_any_part_of_their_name():
    assert list_models("means:") == list_models("means:mean") == ["means:mean_small", "means:mean_large"]
    assert list_models("means:*small") == ["means:mean_small"]
    with pytest.raises(vd.SpecError, match="did you mean mean_small"):
        list_models("means:mean_smal_")


def test_granularities_are_written_with_a_comma():
    assert parse_by("head") == "head"
    assert parse_by("head,token") == ("head", "token")
    with pytest.raises(vd.SpecError, match="did you mean token"):
        parse_by("tokens")
