"""Maps as colors over an image: diverging around zero where they are signed, sequential where they are not.

Both palettes are legible to the color-blind. The image below is gray, so that no color of it is taken for a value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps

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
    def of(cls, values: Float[np.ndarray, "..."], *, signed: bool) -> Palette:
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


def gray(pixels: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """Return the luminance, a little lighter, so that colors over it stay legible."""
    found: np.ndarray = 0.15 + 0.85 * (pixels @ np.array([0.299, 0.587, 0.114]))
    return found
