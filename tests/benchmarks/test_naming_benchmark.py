"""Calibration of stated R^2, and its figure."""

from __future__ import annotations

from pathlib import Path

import pytest
from naming_calibration import Calibration, draw
from PIL import Image

ONE = Calibration((0.5, 0.2), (0.1, 0.01), (0.6, 0.1), (True, False))


def test_what_is_found_is_compared_with_what_is_stated() -> None:
    both = Calibration.joined([ONE, Calibration((0.9,), (0.1,), (0.9,), (True,))])
    assert both.difference == pytest.approx(0.0)
    assert both.within == pytest.approx(2 / 3)
    assert "over 3 components" in both.sentence()


def test_the_figure_is_a_picture(tmp_path: Path) -> None:
    draw({"scenes:clip": ONE, "scenes:deit": ONE}, tmp_path)
    with Image.open(tmp_path / "naming.png") as picture:
        assert picture.width > picture.height > 100
