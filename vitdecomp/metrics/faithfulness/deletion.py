"""Deletion: the score while the pixels that a map ranks highest are taken away.

References:
    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv 1806.07421.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vitdecomp.metrics.faithfulness.curve import Curve
from vitdecomp.metrics.faithfulness.scoring import Fill, canvas


@dataclass(frozen=True)
class Deletion(Curve):
    """Area under the score while the pixels are deleted, those of the largest values first. Lower is better.

    The other arguments are those of `Curve`.

    Args:
        fill: what a deleted pixel is set to, in the units of the images; 0, the mean color, in the paper.
    """

    fill: Fill = 0.0
    higher_is_better = False

    def ends(self, images: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n c h w"]]:
        """Go from the images to one color."""
        return images, canvas(self.fill, images)
