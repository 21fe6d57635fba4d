"""ROAD: its definition with a direct solver, its control value, and its noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from vitdecomp.metrics import Road
from vitdecomp.metrics.faithfulness.imputation import linear_imputation


def slow(score: Any, image: torch.Tensor, heatmap: torch.Tensor, row: int) -> float:
    """One image and one order at a time; only for maps without ties, and without noise."""
    total, pixels = 0.0, heatmap.numel()
    for tenth in range(1, 10):
        scores = []
        for most in (True, False):
            missing = torch.zeros(pixels, dtype=torch.bool)
            missing[heatmap.flatten().argsort(descending=most)[: tenth * pixels // 10]] = True
            filled = linear_imputation(image[None], missing.view(1, *heatmap.shape))
            scores.append(float(score(filled, torch.tensor([row]))))
        total += (scores[1] - scores[0]) / 2
    return total / 9


def test_road_is_its_definition(additive: Any) -> None:
    score, images, maps = additive
    found = Road(noise=0.0)(score, images, maps)
    expected = [slow(score, images[i], maps[i], i) for i in range(5)]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)
    assert not torch.equal(found, Road(noise=0.01)(score, images, maps))
    assert torch.allclose(found, Road(noise=0.01)(score, images, maps), rtol=0, atol=0.5)


def test_a_map_that_says_nothing_has_zero(additive: Any) -> None:
    score, images, maps = additive
    assert (Road()(score, images, torch.zeros_like(maps)) == 0).all()
    random = [maps.flatten(1)[:, torch.randperm(144)].view_as(maps) for _ in range(40)]
    true = Road()(score, images, maps).mean()
    assert abs(torch.stack([Road()(score, images, m) for m in random]).mean()) < 0.1 * true


def test_the_negative_map_has_the_negative_value(additive: Any) -> None:
    score, images, maps = additive
    road = Road()
    assert torch.allclose(road(score, images, -maps), -road(score, images, maps), rtol=0, atol=1e-9)


def test_the_noise_is_of_its_size_on_imputed_pixels_alone() -> None:
    seen = []

    def score(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        seen.append(x.clone())
        return x.mean((1, 2, 3))

    images, maps = torch.zeros(2, 3, 30, 30), torch.rand(2, 30, 30)
    Road(fractions=(0.5,), noise=0.1)(score, images, maps)
    changed = torch.cat(seen)
    assert changed.ne(0).sum((1, 2, 3)).tolist() == [1350] * 4
    assert changed[changed != 0].std() == pytest.approx(0.1, abs=0.01)
    seen.clear()
    Road(fractions=(0.5,), noise=0.1, seed=1)(score, images, maps)
    assert not torch.equal(changed, torch.cat(seen))


def test_fractions_are_averaged(additive: Any) -> None:
    road = Road(noise=0.0)
    each = [replace(road, fractions=(share,))(*additive) for share in (0.2, 0.7)]
    both = replace(road, fractions=(0.2, 0.7))(*additive)
    assert torch.allclose(both, sum(each) / 2, rtol=0, atol=1e-12)
