"""Images as people see them."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitdecomp.errors import InputError


def shown(image: Any, size: tuple[int, int]) -> Float[np.ndarray, "H W 3"]:
    """Return an image as people see it, from 0 to 1.

    Args:
        image: a tensor as a model takes it, normalized in any way; or a PIL image.
        size: height and width.

    Raises:
        InputError: something else.
    """
    if isinstance(image, Tensor) and image.ndim == 3:
        pixels = image.detach().float().cpu()
        low, high = pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True)
        stretched = ((pixels - low) / (high - low).clamp_min(1e-12)).movedim(0, -1)
        found: np.ndarray = (stretched if stretched.shape[-1] == 3 else stretched.mean(-1, keepdim=True)).numpy()
        return np.broadcast_to(found, (*found.shape[:2], 3))
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB").resize((size[1], size[0])), dtype=np.float32) / 255
    raise InputError(f"images must be tensors (channel, height, width) or PIL images, not {type(image).__name__}")


def picture(pixels: Float[np.ndarray, "H W 3"]) -> Image.Image:
    """Return values from 0 to 1 as a picture."""
    return Image.fromarray(np.round(255 * pixels).astype(np.uint8))
