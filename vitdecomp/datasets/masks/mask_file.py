"""Read a mask file as it was written: numbers, not colors."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image, UnidentifiedImageError

from vitdecomp.errors import InputError
from vitdecomp.images.formats import FORMATS
from vitdecomp.images.reading import read_file

LOSSLESS = ("BMP", "DIB", "GIF", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF")
SUFFIXES = frozenset(suffix for name in LOSSLESS for suffix in FORMATS[name])
NUMBERS = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # modes of one channel of whole numbers
WITH_ALPHA = ("LA", "PA")
COLORS = ("RGB", "RGBA", "RGBX")


def read_values(path: Path) -> Int64[np.ndarray, "height width *channel"]:
    """Read the values of a mask: numbers of a palette or gray levels, `(height, width)`; colors, `(height, width, 3)`.

    Raises:
        InputError: it cannot be read, was compressed with loss, or has no whole numbers.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"mask {path} is in a format that changes values: save masks as PNG")
    try:
        with Image.open(io.BytesIO(read_file(path)), formats=LOSSLESS) as image:
            image.load()
            values = _values(image)
    except UnidentifiedImageError:
        raise InputError(f"cannot read mask {path}: it is no {', '.join(LOSSLESS)} image") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files fail in every way there is
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(f"cannot read mask {path}: {reason}") from error
    if values is None:
        raise InputError(f"mask {path} has no whole numbers as values: save masks as PNG with 8 bits or a palette")
    return values


def read_numbers(path: Path) -> Int64[np.ndarray, "height width"]:
    """Read a mask of one channel.

    Raises:
        InputError: it cannot be read, or is in colors.
    """
    values = read_values(path)
    if values.ndim != 2:
        raise InputError(f"mask {path} is in colors: its values must be numbers of classes, as in a PNG with a palette")
    return values


def _values(image: Image.Image) -> np.ndarray | None:
    if image.mode in NUMBERS:
        return np.asarray(image).astype(np.int64)
    if image.mode in WITH_ALPHA:
        return np.asarray(image.getchannel(0)).astype(np.int64)
    return np.asarray(image)[..., :3].astype(np.int64) if image.mode in COLORS else None
