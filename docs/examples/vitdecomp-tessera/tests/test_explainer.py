"""The method for heatmaps keeps its contract, and finds what it says."""

from typing import ClassVar

import torch
from vitdecomp_tessera.explainer import Erase

import vitdecomp as vd
from vitdecomp.testing import ExplainerContract


class TestErase(ExplainerContract):
    explainer = Erase


class TestEraseToGray(ExplainerContract):
    explainer = Erase
    settings: ClassVar = {"fill": 0.5}


def test_a_patch_that_is_blank_already_is_worth_nothing() -> None:
    model = vd.load_model("tessera:small", pretrained=False)
    images = torch.randn(1, 3, 32, 32)
    images[..., 8:16, 16:24] = 0
    maps = vd.explain(model, images, torch.randn(1, 32), "erase")
    assert float(maps.grid[0, 0, 1, 2]) == 0
    assert int((maps.grid == 0).sum()) == 1
