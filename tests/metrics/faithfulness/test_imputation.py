"""Linear imputation: known pixels stay, ramps come back, and a sparse direct solver agrees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from vitdecomp import InputError
from vitdecomp.metrics.faithfulness.imputation import linear_imputation

WEIGHTS = {(i, j): 1 / 6 if 0 in (i, j) else 1 / 12 for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)}


def slow(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """One equation for each missing pixel, solved directly."""
    unknown = {(int(i), int(j)): k for k, (i, j) in enumerate(np.argwhere(missing))}
    matrix, right = lil_matrix((len(unknown), len(unknown))), np.zeros((len(unknown), len(image)))
    for (i, j), k in unknown.items():
        for (di, dj), weight in WEIGHTS.items():
            place = i + di, j + dj
            if not (0 <= place[0] < missing.shape[0] and 0 <= place[1] < missing.shape[1]):
                continue
            matrix[k, k] += weight
            if place in unknown:
                matrix[k, unknown[place]] -= weight
            else:
                right[k] += weight * image[:, place[0], place[1]]
    filled = image.copy()
    filled[:, missing] = spsolve(matrix.tocsc(), right).reshape(right.shape).T
    return filled


def holes(n: int, h: int, w: int, share: float) -> torch.Tensor:
    """Random, and smooth: half of the images have each."""
    source = torch.Generator().manual_seed(1)
    values = torch.rand(n, h, w, generator=source)
    values[::2] = (torch.arange(h)[:, None] * w + torch.arange(w)) / (h * w)
    return values < share


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_imputation_solves_the_equations(share: float) -> None:
    images = torch.randn(4, 3, 13, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    missing = holes(4, 13, 17, share)
    expected = np.stack([slow(x, m) for x, m in zip(images.numpy(), missing.numpy(), strict=True)])
    found = linear_imputation(images, missing)
    assert np.allclose(found, expected, rtol=0, atol=1e-9)
    assert torch.allclose(linear_imputation(images.float(), missing).double(), found, rtol=0, atol=1e-4)


def test_known_pixels_stay_to_the_last_bit_and_all_stays_where_nothing_is_missing() -> None:
    images, missing = torch.randn(4, 3, 13, 17), holes(4, 13, 17, 0.7)
    found = linear_imputation(images, missing)
    known = (~missing)[:, None].expand_as(images)
    assert torch.equal(found[known], images[known])
    assert not (found[~known] == images[~known]).any()
    assert torch.equal(linear_imputation(images, torch.zeros_like(missing)), images)


def test_a_linear_ramp_is_reproduced_inside_and_a_constant_everywhere() -> None:
    ramp = 3 + 0.5 * torch.arange(16, dtype=torch.float64)[:, None] - 2 * torch.arange(20, dtype=torch.float64)
    missing = holes(2, 16, 20, 0.8)
    missing[:, [0, -1]], missing[:, :, [0, -1]] = False, False
    images = ramp.expand(2, 1, 16, 20)
    assert torch.allclose(linear_imputation(images, missing), images, rtol=0, atol=1e-9)
    bent = images + 0.1 * images.square()
    assert not torch.allclose(linear_imputation(bent, missing), bent, rtol=0, atol=0.1)
    flat = torch.full((2, 1, 16, 20), 0.1)
    assert torch.allclose(linear_imputation(flat, holes(2, 16, 20, 0.95)), flat)


def test_a_hole_is_filled_from_its_surroundings_alone_and_within_their_range() -> None:
    images = torch.rand(1, 1, 9, 21, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    missing = torch.zeros(1, 9, 21, dtype=torch.bool)
    missing[:, 2:6, 2:6] = True
    found = linear_imputation(images, missing)
    other = images.clone()
    other[..., 10:] += 100  # moves the first guess, not the solution
    assert torch.allclose(linear_imputation(other, missing)[..., :10], found[..., :10], rtol=0, atol=1e-8)
    assert found[0, 0, 2:6, 2:6].min() >= images[0, 0, 1:7, 1:7].min()
    assert found[0, 0, 2:6, 2:6].max() <= images[0, 0, 1:7, 1:7].max()


def test_an_image_without_a_known_pixel_is_refused() -> None:
    missing = holes(3, 4, 5, 0.5)
    missing[1] = True
    with pytest.raises(InputError, match="all pixels of image 1 are missing"):
        linear_imputation(torch.rand(3, 1, 4, 5), missing)
