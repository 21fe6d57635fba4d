"""Agreement with published codes on small random models (tests/golden/README.md says where from)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from helpers import cached
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

import vitdecomp as vd

GOLDEN = Path(__file__).parent.parent / "golden"


@cached
def legrad() -> tuple[np.lib.npyio.NpzFile, vd.Decomposer, Tensor, Tensor]:
    data = np.load(GOLDEN / "legrad_openclip.npz")
    vision = open_clip.CLIPVisionCfg(**json.loads(str(data["vision_cfg_json"])))
    tower = open_clip.model._build_vision_tower(data["text_embedding"].shape[-1], vision)
    tower.load_state_dict({k[3:]: torch.from_numpy(data[k]) for k in data.files if k.startswith("sd/")})
    images = torch.from_numpy(data["x"]).double()
    decomposer = vd.Decomposer(tower.double().eval()).fit(images)
    return data, decomposer, images, torch.from_numpy(data["text_embedding"]).double()


def test_relevance_of_each_layer() -> None:
    data, decomposer, images, q = legrad()
    layers = vd.explain(decomposer, images, q, "legrad").layers
    assert layers is not None
    expected = torch.from_numpy(data["raw_relevance/layer_index_0"])[:, 0]
    torch.testing.assert_close(
        layers.values[0].transpose(0, 1), expected.double(), rtol=1e-6, atol=1e-6 * float(expected.max())
    )


@pytest.mark.parametrize(("preset", "layers"), [("paper", 0), ("code", -2)])
def test_maps_of_the_presets(preset: str, layers: int) -> None:
    data, decomposer, images, q = legrad()
    values = vd.explain(decomposer, images, q, "legrad", preset=preset).values[0]
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    expected = torch.from_numpy(data[f"heatmap/layer_index_{layers}"])[0]
    torch.testing.assert_close((values - low) / (high - low), expected.double(), rtol=0, atol=1e-5)


def test_tokens_of_the_last_two_blocks() -> None:
    """The contributions of each key token, biases aside: differences between tokens do not depend on their shares."""
    data = np.load(GOLDEN / "timm_vit.npz")
    model = VisionTransformer(**json.loads(str(data["kwargs_json"]))).double().eval()
    model.load_state_dict({k[3:]: torch.from_numpy(data[k]) for k in data.files if k.startswith("sd/")})
    images = torch.from_numpy(data["x"]).double()
    q = torch.randn(2, data["rep"].shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for layer, block in ((0, 2), (1, 1)):  # the reference counts from the last block
        maps = vd.explain(model, images, q, components=f"blocks.{block}.attn.*")
        name = f"tok_from1/lnexact/comp/layer:{layer:02d}, attns"
        tokens = torch.from_numpy(data[name])  # token, image, d
        by_token = torch.einsum("tnd,qd->nqt", tokens, q)[:, :, 1:].reshape(maps.grid.shape)
        torch.testing.assert_close(_centered(maps.grid), _centered(by_token), rtol=1e-8, atol=1e-9)


def _centered(grid: Tensor) -> Tensor:
    return grid - grid.mean((-2, -1), keepdim=True)
