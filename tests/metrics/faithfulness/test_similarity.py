"""Similarity of maps: scipy's correlation of ranks, and structural similarity window by window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from vitdecomp.metrics.faithfulness.similarity import spearman, ssim


def maps(n: int, h: int, w: int, seed: int) -> torch.Tensor:
    return torch.randn(n, h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_ssim(a: np.ndarray, b: np.ndarray, width: int) -> float:
    """Every window inside the map, weighted by a Gaussian."""
    a, b = ((m - m.min()) / (m.max() - m.min()) for m in (a, b))
    place = np.arange(width) - width // 2
    window = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    window /= window.sum()
    found = []
    for i in range(a.shape[0] - width + 1):
        for j in range(a.shape[1] - width + 1):
            x, y = (m[i : i + width, j : j + width] for m in (a, b))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            found.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return float(np.mean(found))


@pytest.mark.parametrize("decimals", [0, 8], ids=["ties", "no ties"])
def test_spearman_is_that_of_scipy(decimals: int) -> None:
    a, b = maps(3, 7, 9, 0).round(decimals=decimals), maps(3, 7, 9, 1).round(decimals=decimals)
    b = a + b
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert np.allclose(spearman(a, b), expected, rtol=0, atol=1e-12)


def test_spearman_knows_the_order_alone_and_a_constant_has_none() -> None:
    a = maps(2, 6, 6, 0)
    assert torch.allclose(spearman(a, a.exp()), torch.ones(2, dtype=torch.float64))
    assert torch.allclose(spearman(a, -(a**3)), -torch.ones(2, dtype=torch.float64))
    assert (spearman(a, torch.ones_like(a)) == 0).all()


@pytest.mark.parametrize(("size", "width"), [((14, 16), 11), ((11, 11), 11), ((7, 9), 7), ((6, 12), 5)])
def test_ssim_is_its_definition(size: tuple[int, int], width: int) -> None:
    a = maps(2, *size, 0)
    b = a + maps(2, *size, 1)
    expected = [slow_ssim(x, y, width) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert np.allclose(ssim(a, b), expected, rtol=0, atol=1e-12)


def test_ssim_does_not_know_units_and_is_one_for_equal_maps() -> None:
    a, b = maps(2, 12, 12, 0), maps(2, 12, 12, 1)
    assert torch.allclose(ssim(a, 7 + 3 * a), torch.ones(2, dtype=torch.float64))
    assert torch.allclose(ssim(a, b), ssim(5 * b, a - 1))
    assert (ssim(a, b).abs() < 0.3).all()
    assert ssim(torch.zeros(1, 12, 12), torch.ones(1, 12, 12)) == 1
