"""Models with weights in several number formats: the trial run decides what they take, the coarsest how exact it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import pictures, randomised
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import vitdecomp as vd
from vitdecomp._utils.tolerance import coarsest
from vitdecomp.cli.inspect.report import exactness
from vitdecomp.engine.inputs import in_format

IMAGES = pictures(2, 16)
HALVES = [torch.float16, torch.bfloat16]


class SingleNorm(nn.LayerNorm):
    """A norm whose weights stay in float32, as in half-precision CLIPs."""

    def forward(self, x: Tensor) -> Tensor:
        wide = F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps)
        return wide.to(x.dtype)


def mixed(dtype: torch.dtype) -> Any:
    sizes: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}
    model = randomised(VisionTransformer(**sizes, num_classes=0, norm_layer=SingleNorm)).to(dtype)
    for part in model.modules():
        if isinstance(part, SingleNorm):
            part.float()
    return model


@pytest.mark.parametrize("given", [torch.float32, None], ids=["float32 images", "half images"])
@pytest.mark.parametrize("dtype", HALVES)
def test_mixed_formats(dtype: torch.dtype, given: torch.dtype | None) -> None:
    model, images = mixed(dtype), IMAGES.to(given or dtype)
    decomposer = vd.Decomposer(model, cache=None).fit(images)
    c = decomposer.transform(images)
    assert c.values.dtype == dtype
    assert torch.allclose(c.total().float(), model(images.to(dtype)).float(), rtol=0.1, atol=0.1)
    name = str(dtype).removeprefix("torch.")
    report = decomposer.report_
    assert report.tolerance == vd.TOLERANCE[dtype]
    assert report.sum_holds == f"within the rounding of {name}"
    assert "exact" not in exactness(report).plain
    assert name in exactness(report).plain
    assert "exact" not in str(report)


def test_a_coarse_format_on_the_way_counts() -> None:
    """The representation is float32, but the blocks are not."""

    class Ended(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = mixed(torch.bfloat16), nn.Linear(24, 8)

        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = self.last(self.inner(images.bfloat16()).float())
            return found

    decomposer = vd.Decomposer(Ended().eval(), cache=None).fit(IMAGES.float())
    assert decomposer.transform(IMAGES.float()).values.dtype == torch.float32
    assert decomposer.report_.precision == "bfloat16"
    assert decomposer.report_.tolerance == vd.TOLERANCE[torch.bfloat16]


def test_float32_is_exact(tiny_vit: nn.Module) -> None:
    images = pictures(2, 32).float()
    report = vd.Decomposer(tiny_vit.float()).fit(images).report_
    assert report.sum_holds == "exact"
    assert exactness(report).plain.startswith("exact: ")


def test_images_are_converted_where_nothing_is_lost(tiny_vit: nn.Module) -> None:
    images = pictures(2, 32)
    decomposer = vd.Decomposer(tiny_vit).fit(images.float())
    assert decomposer.transform(images.float()).values.dtype == torch.float64
    tiny_vit.float()
    decomposer = vd.Decomposer(tiny_vit).fit(images.float())
    with pytest.raises(vd.InputError, match=r"inputs are torch.float64 on cpu, the model is torch.float32"):
        vd.Decomposer(tiny_vit).fit(images)
    decomposer = vd.Decomposer(tiny_vit).fit(images.half())
    assert decomposer.transform(images.half()).error.max() < 1e-5
    with pytest.raises(vd.InputError, match=r"inputs are torch.float64 on cpu, the model is torch.float32"):
        decomposer.transform(images)
    with pytest.raises(vd.InputError, match=r"inputs are uint8: give what the model's preprocessing makes"):
        in_format((images * 9).to(torch.uint8), torch.float32)
    with pytest.raises(vd.InputError, match="too large for float16"):
        vd.Decomposer(tiny_vit.half()).fit(images.float() * 1e6)


def test_the_coarsest() -> None:
    assert coarsest([torch.float32, torch.float16, torch.int64]) == torch.float16
    assert coarsest([torch.bool]) is None
