"""Deletion: the score while the pixels that a map ranks highest are taken away.

References:
    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv 1806.07421.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vitdecomp.metrics.faithfulness.scoring import Fill, Score, area, canvas, check_counts, checked, ranks


@dataclass(frozen=True, slots=True)
class Deletion:
    """Area under the score while the pixels are deleted, those of the largest values first. Lower is better.

    Args:
        step: pixels that are deleted at a time; one row of 224 in the paper.
        fill: what a deleted pixel is set to, in the units of the images; 0, the mean color, in the paper.
        batch_size: images that are scored at once.
        seed: of the order of pixels with equal values.

    Raises:
        InputError: a step or batch size below 1.
    """

    step: int = 224
    fill: Fill = 0.0
    batch_size: int = 64
    seed: int = 0
    higher_is_better = False

    def __post_init__(self) -> None:
        check_counts(step=self.step, batch_size=self.batch_size)

    def __call__(
        self, score: Score, images: Float[Tensor, "n c h w"], maps: Float[Tensor, "_n _h _w"]
    ) -> Float[Tensor, " n"]:
        """Return the trapezoid rule's area over the share of pixels deleted, in the units of the score.

        Args:
            score: `score(images, rows)`, such as the probability of the class that is explained.
            images: as the model takes them, `(n, c, h, w)`.
            maps: signed, `(n, h, w)`.

        Raises:
            InputError: maps that do not fit, NaN, or a step larger than the image.
        """
        rank = ranks(checked(images, maps), self.seed)
        return area(score, images, canvas(self.fill, images), rank, self.step, self.batch_size)
