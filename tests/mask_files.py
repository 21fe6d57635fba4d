"""Images and masks for tests, written as data sets have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (20, 30)  # height and width


def photograph(path: Path, shade: int = 90, size: tuple[int, int] = SIZE) -> Path:
    """Write an image of one color."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (shade, 20, 200)).save(path)
    return path


def square(value: int = 1, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Make a mask with a square of a value, whose corner tells rows from columns."""
    mask = np.zeros(size, dtype=np.uint8)
    mask[4:10, 12:24] = value
    return mask


def palette(path: Path, mask: np.ndarray) -> Path:
    """Write numbers as a PNG with a palette, whose colors are others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    image.putpalette([(37 * i + 11) % 256 for i in range(768)])
    image.save(path)
    return path


def gray(path: Path, mask: np.ndarray) -> Path:
    """Write numbers as a PNG of gray levels, or colors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path
