"""Pictures as data URIs, small enough to be sent with a page."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from vitdecomp._utils.html import image_uri

COLOURS = 96  # of a thumbnail
SIDE = 96  # pixels, of a larger picture's thumbnail
STRONG = np.array((255.0, 96.0, 32.0))  # where a heatmap is hottest


def data_uri(picture: Image.Image) -> str:
    """Encode an image as a small PNG inside a URI."""
    small = thumbnail(picture)
    return image_uri(small.quantize(COLOURS, dither=Image.Dither.NONE), "PNG", optimize=True)


def thumbnail(picture: Image.Image) -> Image.Image:
    """Shrink the image to at most `SIDE`."""
    if max(picture.size) <= SIDE:
        return picture.convert("RGB")
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    return small


def overlay(picture: Image.Image, heat: Float[np.ndarray, "height width"]) -> Image.Image:
    """Lay what is positive in a heatmap over the image in grey, in one color."""
    grey = np.asarray(picture.convert("L"), dtype=np.float64)[..., None] * 0.55 + 90
    strength = (np.clip(heat, 0, None) / (max(float(heat.max()), 0.0) or 1))[..., None]
    mixed = grey * (1 - 0.85 * strength) + STRONG * 0.85 * strength
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def masked(picture: Image.Image, mask: Bool[np.ndarray, "height width"]) -> Image.Image:
    """Show the masked part of an image in its colors, the rest in grey."""
    colours = np.asarray(picture.convert("RGB"), dtype=np.float64)
    grey = np.asarray(picture.convert("L"), dtype=np.float64)[..., None] * 0.35 + 140
    return Image.fromarray(np.where(mask[..., None], colours, grey).astype(np.uint8))
