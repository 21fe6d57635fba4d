"""Perturbation: its definition, and that the true map is best in both orders."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitdecomp import InputError
from vitdecomp.metrics import Perturbation, black

FILL = black((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def slow(score: Any, image: torch.Tensor, heatmap: torch.Tensor, row: int, positive: bool) -> float:
    """One image; only for maps without ties. The image is denormalized, and its pixels are set to 0."""
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None] for v in ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5)))
    order = heatmap.flatten().argsort(descending=positive)
    scores = []
    for tenth in range(1, 10):
        raw = image.flatten(1) * std + mean
        raw[:, order[: tenth * heatmap.numel() // 10]] = 0
        scores.append(score(((raw - mean) / std).view_as(image)[None], torch.tensor([row]))[0])
    return float(sum(scores) / 9)


@pytest.mark.parametrize("order", ["positive", "negative"])
def test_perturbation_is_its_definition(additive: Any, order: Any) -> None:
    score, images, maps = additive
    found = Perturbation(order, fill=FILL)(score, images, maps)
    expected = [slow(score, images[i], maps[i], i, order == "positive") for i in range(5)]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-11)


def test_the_true_map_is_better_than_all_others_in_both_orders(additive: Any) -> None:
    score, images, maps = additive
    shuffled = torch.stack([maps.flatten(1)[:, torch.randperm(144)].view_as(maps) for _ in range(20)])
    for order, sign in (("positive", -1), ("negative", 1)):
        measure = Perturbation(order, fill=0.0)
        best = sign * measure(score, images, maps)
        assert all((sign * measure(score, images, other) < best).all() for other in shuffled)


def test_negative_is_positive_of_the_negative_map_ties_included(additive: Any) -> None:
    score, images, maps = additive
    maps = maps.round()
    positive, negative = Perturbation("positive", fill=FILL), Perturbation("negative", fill=FILL)
    assert torch.equal(negative(score, images, maps), positive(score, images, -maps))
    assert torch.equal(negative(score, images, 0 * maps), positive(score, images, 0 * maps))
    assert not torch.allclose(negative(score, images, maps), positive(score, images, maps))


def test_what_black_is_must_be_given_and_the_order_known() -> None:
    given = torch.rand(1, 3, 8, 8), torch.rand(1, 8, 8)
    with pytest.raises(InputError, match=r"no fill; give fill=black\(mean, std\)"):
        Perturbation("positive")(lambda x, rows: x.mean((1, 2, 3)), *given)
    with pytest.raises(InputError, match="order = 'upwards'; give one of positive, negative"):
        Perturbation("upwards")  # type: ignore[arg-type]
