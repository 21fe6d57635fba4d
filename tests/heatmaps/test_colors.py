"""Palettes: symmetric around zero, and clear where a map says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from vitdecomp.heatmaps.colors import Palette, gray


def luminance(color: np.ndarray) -> float:
    return float(color @ np.array([0.299, 0.587, 0.114]))


def test_signed_maps_are_symmetric_around_zero() -> None:
    palette = Palette.of(np.array([[-1.0, 0.5]]), signed=True)
    assert (palette.low, palette.high) == (-1.0, 1.0)
    assert palette.share(np.zeros(1)) == pytest.approx(0.5)


def test_evidence_for_is_red_and_against_is_blue() -> None:
    values = np.array([[1.0, -1.0, 0.0]])
    ((high, low, none),) = Palette.of(values, signed=True).over(values, np.full((1, 3), 0.5)).astype(int)
    assert high[0] > high[2] + 50
    assert low[2] > low[0] + 50
    assert abs(int(none[0]) - int(none[2])) < 20


def test_unsigned_maps_get_lighter() -> None:
    values = np.linspace(0, 1, 9)[None]
    painted = Palette.of(values, signed=False).over(values, np.zeros((1, 9)))[0]
    light = [luminance(color) for color in painted]
    assert light == sorted(light)


@pytest.mark.parametrize("signed", [True, False])
def test_a_map_of_zeros_has_a_palette(signed: bool) -> None:
    painted = Palette.of(np.zeros((2, 2)), signed=signed).over(np.zeros((2, 2)), np.zeros((2, 2)))
    assert painted.shape == (2, 2, 3)


def test_gray_is_a_little_lighter_than_luminance() -> None:
    assert gray(np.ones((1, 1, 3))) == pytest.approx(1)
    assert 0 < gray(np.zeros((1, 1, 3))) < 0.5
