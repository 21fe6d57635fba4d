"""Pictures as the page shows them."""

from __future__ import annotations

import io

from PIL import Image

from vitdecomp._utils.html import image_uri, png_uri

SIDES = (96, 160, 320)  # pixels of the longer side


def as_uri(image: Image.Image, side: int = 320) -> str:
    """Encode a picture, shrunk to a side; a small one without loss, enlarged by a whole number."""
    small = image.convert("RGB")
    if max(small.size) <= side:
        return png_uri(small)
    small.thumbnail((side, side))
    return image_uri(small, "JPEG", quality=88)


def as_jpeg(image: Image.Image, side: int) -> tuple[bytes, str]:
    """Encode a picture for a response; return its content and its type."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    kind = "PNG" if max(small.size) <= SIDES[0] else "JPEG"
    buffer = io.BytesIO()
    small.save(buffer, kind)
    return buffer.getvalue(), f"image/{kind.lower()}"
