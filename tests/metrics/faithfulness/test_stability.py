"""Stability: its definition draw by draw, over the draws whose prediction holds and no others."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import pictures
from torch import Tensor

from vitdecomp import InputError
from vitdecomp.metrics import Stability

IMAGES = pictures(5, 16)


def same(images: Tensor, rows: Tensor) -> Tensor:
    return rows


def squared(images: Tensor, rows: Tensor) -> Tensor:
    return images.square().sum(1) * (1 + rows[:, None, None])


def slow(stability: Stability, explain: Any, predict: Any, image: Tensor, row: int) -> float:
    rows = torch.tensor([row])
    noise = torch.randn(stability.draws, *image.shape, generator=torch.Generator().manual_seed(stability.seed))
    own, worst = explain(image[None], rows), float("nan")
    for drawn in noise:
        noised = image + stability.noise * drawn.double()
        if predict(noised[None], rows) == predict(image[None], rows):
            change = float((explain(noised[None], rows) - own).norm() / own.norm())
            worst = max(change, 0.0 if math.isnan(worst) else worst)
    return worst


@pytest.mark.parametrize("batch_size", [64, 7])
def test_stability_is_its_definition(batch_size: int) -> None:
    def predict(images: Tensor, rows: Tensor) -> Tensor:
        return (images.mean((1, 2, 3)) / 0.03).round().int()  # holds in about half of the draws

    stability = Stability(noise=0.4, draws=6, seed=3, batch_size=batch_size)
    found = stability(squared, predict, IMAGES)
    expected = [slow(stability, squared, predict, IMAGES[i], i) for i in range(5)]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12, equal_nan=True)
    assert not torch.allclose(found, stability(squared, same, IMAGES))  # some predictions have changed


def test_images_on_which_no_prediction_holds_have_none() -> None:
    def first_pixel(images: Tensor, rows: Tensor) -> Tensor:  # holds on image 1 alone
        return torch.where(rows == 1, 0, (images[:, 0, 0, 0] != IMAGES[rows, 0, 0, 0]).int())

    asked = []

    def explain(images: Tensor, rows: Tensor) -> Tensor:
        asked.append(rows)
        return squared(images, rows)

    found = Stability()(explain, first_pixel, IMAGES)
    assert found.isnan().tolist() == [True, False, True, True, True]
    assert torch.cat(asked[1:]).unique().tolist() == [1]  # maps that do not count are not made


def test_a_map_of_the_image_alone_changes_with_the_noise_and_a_constant_one_does_not() -> None:
    small, large = (Stability(noise=noise)(squared, same, IMAGES) for noise in (0.01, 0.1))
    assert (small > 0).all()
    assert torch.allclose(large / small, torch.tensor(10.0, dtype=torch.float64), rtol=0.2)
    assert (Stability()(lambda x, rows: torch.ones(len(x), 4, 4), same, IMAGES) == 0).all()


def test_units_of_the_map_do_not_count_and_a_zero_map_has_no_relative_change() -> None:
    found = Stability()(squared, same, IMAGES)
    assert torch.allclose(found, Stability()(lambda x, rows: -3 * squared(x, rows), same, IMAGES))
    assert (Stability()(lambda x, rows: torch.zeros(len(x), 4, 4), same, IMAGES) == 0).all()

    def appears(images: Tensor, rows: Tensor) -> Tensor:
        return images.sum(1) - IMAGES[rows].sum(1)

    assert Stability()(appears, same, IMAGES).isinf().all()


def test_one_image_alone_has_the_same_and_gradients_may_be_used() -> None:
    def gradient(images: Tensor, rows: Tensor) -> Tensor:
        x = images.clone().requires_grad_()
        return torch.autograd.grad(x.pow(3).sum(), x)[0].sum(1)

    together = Stability()(gradient, same, IMAGES)
    alone = torch.cat([Stability()(gradient, same, IMAGES[i : i + 1]) for i in range(5)])
    assert torch.equal(together, alone)
    state = torch.get_rng_state()
    assert torch.equal(together, Stability()(gradient, same, IMAGES))
    assert not torch.equal(together, Stability(seed=1)(gradient, same, IMAGES))
    assert torch.equal(state, torch.get_rng_state())


def test_predictions_that_are_no_classes_and_wrong_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"the predictions for 5 images are \(5, 3\)"):
        Stability()(squared, lambda x, rows: x.mean((2, 3)).int(), IMAGES)
    with pytest.raises(InputError, match=r"in torch.float64: give one whole number for each"):
        Stability()(squared, lambda x, rows: x.mean((1, 2, 3)), IMAGES)
    with pytest.raises(InputError, match="draws = 0"):
        Stability(draws=0)
    with pytest.raises(InputError, match=r"noise = 0.0; give a standard deviation above 0"):
        Stability(noise=0.0)
