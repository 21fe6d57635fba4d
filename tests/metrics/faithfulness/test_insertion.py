"""Insertion: its definition pixel by pixel, and the blur of the paper's code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter

from vitdecomp import InputError
from vitdecomp.metrics import Deletion, Insertion
from vitdecomp.metrics.faithfulness.insertion import blur_kernel, blurred


def slow_blur(image: np.ndarray) -> np.ndarray:
    """The kernel is a filtered pixel, as in the paper's code; zeros around the image."""
    pixel = np.zeros((11, 11))
    pixel[5, 5] = 1
    return np.stack([convolve(channel, gaussian_filter(pixel, 5), mode="constant") for channel in image])


def slow(score: Any, image: torch.Tensor, heatmap: torch.Tensor, row: int, step: int) -> float:
    """One image, one pixel at a time; only for maps without ties."""
    current, width, pixels = torch.from_numpy(slow_blur(image.numpy())), heatmap.shape[1], heatmap.numel()
    shares, scores = [0.0], [float(score(current[None], torch.tensor([row])))]
    for k, pixel in enumerate(np.argsort(-heatmap.numpy().ravel()), 1):
        current[:, pixel // width, pixel % width] = image[:, pixel // width, pixel % width]
        if k % step == 0 or k == pixels:
            shares.append(k / pixels)
            scores.append(float(score(current[None], torch.tensor([row]))))
    return sum((b - a) * (s + t) / 2 for a, b, s, t in zip(shares, shares[1:], scores, scores[1:], strict=False))


@pytest.mark.parametrize("step", [12, 50, 144])
def test_insertion_is_its_definition(additive: Any, step: int) -> None:
    score, images, maps = additive

    def probability(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return (score(x, rows) / 10).sigmoid()

    found = Insertion(step=step)(probability, images, maps)
    expected = [slow(probability, images[i], maps[i], i, step) for i in range(5)]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_blur_keeps_what_is_constant_away_from_the_border_and_fades_there() -> None:
    assert blur_kernel().sum() == pytest.approx(1, abs=1e-14)
    assert torch.allclose(blur_kernel(), blur_kernel().flip(0), rtol=0, atol=1e-15)
    flat = blurred(torch.full((1, 2, 20, 30), 3.0, dtype=torch.float64))
    assert torch.allclose(flat[..., 5:-5, 5:-5], torch.tensor(3.0, dtype=torch.float64))
    assert (flat[..., 0] < 2).all()


def test_the_blur_is_the_same_for_images_smaller_than_it() -> None:
    image = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert np.allclose(blurred(image[None])[0], slow_blur(image.numpy()), rtol=0, atol=1e-14)


def test_insertion_mirrors_deletion_onto_the_blur(additive: Any) -> None:
    """A pixel that is inserted into the blur of the map's order is one deleted in the reverse order."""
    score, images, maps = additive
    blur = blurred(images)
    weights = torch.autograd.functional.jacobian(lambda x: score(x, torch.arange(5)).sum(), images)
    offset = score(blur, torch.arange(5))
    inserted = Insertion(step=12)(score, images, maps)
    deleted = Deletion(step=12)(lambda x, rows: (weights[rows] * x).sum((1, 2, 3)), images - blur, -maps)
    assert torch.allclose(inserted, offset + deleted, rtol=0, atol=1e-11)


def test_only_the_order_of_the_values_counts(additive: Any) -> None:
    score, images, maps = additive
    assert torch.equal(Insertion(step=12)(score, images, maps), Insertion(step=12)(score, images, maps**3))


def test_a_step_larger_than_the_image_is_refused() -> None:
    with pytest.raises(InputError, match="step = 65"):
        Insertion(step=65)(lambda x, rows: x.mean((1, 2, 3)), torch.rand(1, 3, 8, 8), torch.rand(1, 8, 8))
