"""Decode images to RGB: upright, scaled by the range of their format, and on white where they are transparent."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float64
from PIL import Image, UnidentifiedImageError

from vitdecomp.errors import InputError
from vitdecomp.images.formats import readable_formats

# What is done, for the metadata of what is computed from it. Any change of pixels needs another text.
DECODING = "2: upright; 16-bit grey / 65535, other deep grey by its range; transparency on white; first frame"
WIDE = 2**16 - 1  # the largest value of 16 bits
ORIENTATION, BITS = 0x0112, 258  # tags of EXIF and TIFF
UPRIGHT: Mapping[int, Image.Transpose] = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)
UNIT_FORMATS = ("PNG", "PPM", "JPEG2000")  # whose grey values go up to 65535, if they are more than 255
STRAIGHT: Mapping[str, str] = MappingProxyType({"La": "LA", "RGBa": "RGBA"})  # premultiplied -> not


def decode(data: bytes, name: str) -> Image.Image:
    """Decode the content of an image file; of an animation the first frame.

    Raises:
        InputError: it is not an image in a format of `FORMATS`, is damaged or too large; the message names it.
    """
    if not data:
        raise InputError(f"cannot read image {name}: the file is empty")
    formats = readable_formats()
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            image.load()  # before its tags are asked: Pillow turns a TIFF itself, and a PNG may have them at its end
            return _as_rgb(image)
    except UnidentifiedImageError:
        raise InputError(f"cannot read image {name}: its format is not one of those that are read") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files fail in every way there is
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(f"cannot read image {name}: {reason}") from error


def upright_turn(data: bytes) -> Image.Transpose | None:
    """Tell how `decode` turns the content of a readable image file; `None` if it does not."""
    with Image.open(io.BytesIO(data), formats=readable_formats()) as image:
        return UPRIGHT.get(_orientation(image))


def as_rgb(image: Image.Image) -> Image.Image:
    """Turn any image into plain RGB; one that is plain already is itself.

    Turned upright as its EXIF data say. Grey of 16 bits is divided by 65535. Integers of 32 bits and floating-point
    numbers are scaled from their smallest to their largest value, except that floats within 0 .. 1 are taken as they
    are. What is transparent lies on white. Colour profiles are ignored.

    Raises:
        InputError: no pixel has a finite value.
        ValueError: a mode that Pillow does not convert.
    """
    image.load()
    return image if image.mode == "RGB" and not image.info else _as_rgb(image)


def _as_rgb(image: Image.Image) -> Image.Image:
    turned = UPRIGHT.get(_orientation(image))
    plain = _plain(image)
    found = plain.transpose(turned) if turned is not None else plain
    found.info = {}  # nothing that was heeded stays behind to be heeded twice
    return found


def _plain(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":
        return _scaled(image)
    if image.has_transparency_data:
        straight = image.convert(STRAIGHT[image.mode]) if image.mode in STRAIGHT else image
        above = _eight_bits(straight).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return the image with its transparent color in 8 bits, as its pixels are: a PNG of 16 bits names it in 16."""
    clear = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    return image


def _orientation(image: Image.Image) -> int:
    """Return how the camera was held; 1 is upright."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF data that cannot be read say nothing
        return 1
    return found if isinstance(found, int) else 1


def _scaled(image: Image.Image) -> Image.Image:
    """Return one channel of more than 8 bits."""
    values = np.asarray(image).astype(np.float64)
    known = np.isfinite(values)
    if not known.any():
        raise InputError("no pixel has a finite value")
    low, high = _range(image, values[known])
    levels = np.nan_to_num((values - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        levels[values == clear] = 1
    return Image.fromarray(np.rint(levels * 255).astype(np.uint8)).convert("RGB")


def _range(image: Image.Image, values: Float64[np.ndarray, " n"]) -> tuple[float, float]:
    """Return which values are black and white."""
    if image.mode.startswith("I;16"):
        tags: Any = getattr(image, "tag_v2", {})  # of a TIFF, which may hold 12 bits
        return 0.0, float(2 ** tags[BITS][0] - 1 if BITS in tags else WIDE)
    if image.mode == "I" and image.format in UNIT_FORMATS:
        return 0.0, float(WIDE)
    low, high = float(values.min()), float(values.max())
    if low == high or (image.mode == "F" and low >= 0 and high <= 1):
        return 0.0, 1.0
    return low, high
