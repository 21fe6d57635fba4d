"""Maps as colors over an image: diverging around zero where they are signed, sequential where they are not.

Both palettes are legible to the color-blind. The image below is gray, so that no color of it is taken for a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from vitdecomp.errors import InputError

SIGNED, UNSIGNED = "RdBu_r", "magma"
STRENGTH = 0.85  # opacity of the largest value of a map; zero of a signed map is clear
FLOOR = 0.15  # opacity of the smallest


@dataclass(frozen=True, slots=True)
class Palette:
    """The colors of one map.

    Attributes:
        name: of matplotlib's colors. low, high: the values at their ends; symmetric around zero for signed maps.
        signed: whether values below zero mean evidence against.
    """

    name: str
    low: float
    high: float
    signed: bool

    @classmethod
    def of(cls, values: Float[np.ndarray, "H W"], *, signed: bool) -> Palette:
        """Choose the ends for one map."""
        if signed:
            largest = float(np.abs(values).max()) or 1.0
            return cls(SIGNED, -largest, largest, True)
        low, high = float(values.min()), float(values.max())
        return cls(UNSIGNED, low, high if high > low else low + 1.0, False)

    def share(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Bring values to 0 .. 1."""
        return np.clip((values - self.low) / (self.high - self.low), 0, 1)

    def over(self, values: Float[np.ndarray, "H W"], gray: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
        """Paint a map over an image in gray; the further from zero (or from the smallest), the less is seen of it."""
        share = self.share(values)
        strength = np.abs(2 * share - 1) if self.signed else share
        opacity = (FLOOR + (STRENGTH - FLOOR) * np.sqrt(strength))[..., None]
        painted = colormaps[self.name](share)[..., :3]
        mixed = opacity * painted + (1 - opacity) * gray[..., None]
        found: np.ndarray = np.round(255 * mixed).astype(np.uint8)
        return found

    def stops(self, count: int = 11) -> list[str]:
        """Return the colors of a bar from the low end to the high one, as `rgb(...)`."""
        colors = colormaps[self.name](np.linspace(0, 1, count))[:, :3]
        return ["rgb(" + ", ".join(str(round(255 * c)) for c in color) + ")" for color in colors]


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


def gray(pixels: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """Return the luminance, a little lighter, so that colors over it stay legible."""
    found: np.ndarray = 0.15 + 0.85 * (pixels @ np.array([0.299, 0.587, 0.114]))
    return found
