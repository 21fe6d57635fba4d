"""SaCo: its definition pair by pair, and its ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitdecomp import InputError
from vitdecomp.metrics import SaCo


def slow(score: Any, image: torch.Tensor, heatmap: torch.Tensor, row: int, k: int) -> float:
    """The pairs of the paper's algorithm; only for maps without ties, and groups of equal size."""
    order = heatmap.flatten().argsort(descending=True).view(k, -1)
    mean = image.mean((1, 2))[:, None]
    whole = float(score(image[None], torch.tensor([row])))
    salience, cost = [], []
    for group in order:
        changed = image.flatten(1).clone()
        changed[:, group] = mean
        salience.append(float(heatmap.flatten()[group].sum()))
        cost.append(whole - float(score(changed.view_as(image)[None], torch.tensor([row]))))
    total = signed = 0.0
    for i in range(k):
        for j in range(i + 1, k):
            weight = salience[i] - salience[j]
            signed += weight if cost[i] >= cost[j] else -weight
            total += abs(weight)
    return signed / total


@pytest.mark.parametrize("k", [2, 9, 12])
def test_saco_is_its_definition(additive: Any, k: int) -> None:
    score, images, maps = additive
    maps = maps.roll(1, 2) + maps  # neither right nor wrong
    found = SaCo(groups=k)(score, images, maps)
    expected = [slow(score, images[i], maps[i], i, k) for i in range(5)]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [10, 7])  # 144 pixels: neither are of equal size
def test_the_true_map_has_one_and_its_negative_minus_one(additive: Any, k: int) -> None:
    score, images, maps = additive
    saco = SaCo(groups=k, fill=0.0)
    top = maps.exp()

    def intact(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return (top[rows] * (x == images[rows]).all(1)).sum((1, 2))

    assert (saco(intact, images, top) == 1).all()
    assert (saco(intact, images, -top) == -1).all()
    assert (saco(score, images, maps) > 0.99).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 30), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_it_lies_between_its_ends_and_does_not_know_units(seed: int, k: int, scale: float, shift: float) -> None:
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 3, 6, 6, generator=source, dtype=torch.float64)
    maps = torch.randn(2, 6, 6, generator=source, dtype=torch.float64)

    def score(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return (x * images.flip(0)[rows]).sum((1, 2, 3)).tanh()

    found = SaCo(groups=k)(score, images, maps)
    assert (found.abs() <= 1).all()
    assert torch.allclose(found, SaCo(groups=k)(score, images, scale * maps + shift), rtol=0, atol=1e-8)


def test_more_than_the_order_counts(additive: Any) -> None:
    score, images, maps = additive
    maps = maps.roll(1, 2) + maps
    assert not torch.allclose(SaCo()(score, images, maps), SaCo()(score, images, maps.exp()), atol=0.01)


def test_what_says_nothing_has_zero_and_a_score_that_does_not_move_agrees_with_all(additive: Any) -> None:
    score, images, maps = additive
    assert (SaCo()(score, images, torch.full_like(maps, 0.1)) == 0).all()
    assert (SaCo()(lambda x, rows: torch.ones(len(x)), images, maps) == 1).all()  # the caveat of the definition


def test_more_groups_than_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="groups = 17, but the images have 16 pixels; give fewer"):
        SaCo(groups=17)(lambda x, rows: x.mean((1, 2, 3)), torch.rand(1, 3, 4, 4), torch.rand(1, 4, 4))
