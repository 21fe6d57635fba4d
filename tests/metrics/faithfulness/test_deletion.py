"""Deletion: its definition pixel by pixel, and that the true map is the best of all orders."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from vitdecomp import InputError
from vitdecomp.metrics import Deletion


def slow(score: Any, image: torch.Tensor, heatmap: torch.Tensor, row: int, step: int, fill: float) -> float:
    """One image, one pixel at a time; only for maps without ties."""
    image, width, pixels = image.clone(), heatmap.shape[1], heatmap.numel()

    def now() -> float:
        return float(score(image[None], torch.tensor([row])))

    shares, scores = [0.0], [now()]
    for k, pixel in enumerate(np.argsort(-heatmap.numpy().ravel()), 1):
        image[:, pixel // width, pixel % width] = fill
        if k % step == 0 or k == pixels:
            shares.append(k / pixels)
            scores.append(now())
    return sum((b - a) * (s + t) / 2 for a, b, s, t in zip(shares, shares[1:], scores, scores[1:], strict=False))


@pytest.mark.parametrize(("step", "fill"), [(12, 0.0), (1, -1.5), (50, 0.25), (144, 0.0)])
def test_deletion_is_its_definition(additive: Any, step: int, fill: float) -> None:
    score, images, maps = additive

    def probability(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return (score(x, rows) / 10).sigmoid()

    found = Deletion(step=step, fill=fill)(probability, images, maps)
    expected = [slow(probability, images[i], maps[i], i, step, fill) for i in range(5)]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_no_order_deletes_faster_than_the_true_contributions() -> None:
    source = torch.Generator().manual_seed(3)
    weights, image = (torch.randn(2, 3, 2, 3, generator=source, dtype=torch.float64)).unbind()
    true = (weights * image).sum(0)
    orders = torch.stack([true.flatten()[list(order)].view(2, 3) for order in permutations(range(6))])

    def score(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return (weights * x).sum((1, 2, 3))

    areas = Deletion(step=1)(score, image.expand(len(orders), 3, 2, 3), orders)
    assert areas.argmin() == 0  # the first permutation is the identity
    assert (areas[1:] > areas[0] + 1e-9).all()
    assert Deletion(step=1)(score, image[None], -true[None])[0] == pytest.approx(float(areas.max()), abs=1e-12)


def test_only_the_order_of_the_values_counts(additive: Any) -> None:
    score, images, maps = additive
    expected = Deletion(step=12)(score, images, maps)
    assert torch.equal(expected, Deletion(step=12)(score, images, 5 + 3 * maps.tanh()))
    assert not torch.allclose(expected, Deletion(step=12)(score, images, maps.abs()))


def test_a_constant_score_has_its_own_value_as_area() -> None:
    given = torch.rand(3, 3, 8, 8), torch.rand(3, 8, 8)
    found = Deletion(step=7)(lambda x, rows: torch.full((len(x),), 0.3), *given)
    assert torch.allclose(found, torch.full((3,), 0.3))


def test_a_step_larger_than_the_image_is_refused() -> None:
    with pytest.raises(InputError, match="step = 224, but the images have 144 pixels; give a smaller one"):
        Deletion()(lambda x, rows: x.mean((1, 2, 3)), torch.rand(1, 3, 12, 12), torch.rand(1, 12, 12))
