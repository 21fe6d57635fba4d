"""Area under the score while pixels are replaced, those of the largest values of a map first.

References:
    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv 1806.07421.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vitdecomp.metrics.faithfulness.scoring import Score, area, check_counts, checked, ranks


@dataclass(frozen=True)
class Curve(ABC):
    """What insertion and deletion share.

    Args:
        step: pixels that are replaced at a time; one row of 224 in the paper.
        batch_size: images that are scored at once.
        seed: of the order of pixels with equal values.

    Raises:
        InputError: a step or batch size below 1.
    """

    step: int = 224
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(step=self.step, batch_size=self.batch_size)

    @abstractmethod
    def ends(self, images: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n c h w"]]:
        """Return the images at which the curve begins, and those at which it ends."""

    def __call__(
        self, score: Score, images: Float[Tensor, "n c h w"], maps: Float[Tensor, "_n _h _w"]
    ) -> Float[Tensor, " n"]:
        """Return the trapezoid rule's area over the share of pixels replaced, in the units of the score.

        Args:
            score: `score(images, rows)`, such as the probability of the class that is explained.
            images: as the model takes them, `(n, c, h, w)`.
            maps: signed, `(n, h, w)`.

        Raises:
            InputError: maps that do not fit, NaN, or a step larger than the image.
        """
        rank = ranks(checked(images, maps), self.seed)
        begin, end = self.ends(images)
        return area(score, begin, end, rank, self.step, self.batch_size)
