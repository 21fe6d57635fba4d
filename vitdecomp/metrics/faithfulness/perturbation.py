"""Positive and negative perturbation: the score without the pixels that a map ranks highest, or lowest.

References:
    Chefer, Gur and Wolf, "Transformer Interpretability Beyond Attention Visualization", arXiv 2012.09838.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.metrics.faithfulness.scoring import (
    TENTHS,
    Fill,
    Score,
    canvas,
    check_counts,
    check_fractions,
    checked,
    portions,
    ranks,
    replacing,
)

ORDERS = ("positive", "negative")


@dataclass(frozen=True, slots=True)
class Perturbation:
    """Mean of the score over images in which 10% .. 90% of the pixels are black.

    Args:
        order: `"positive"`: the pixels of the largest values are taken first, and lower is better; `"negative"`: those
            of the smallest, and higher is better.
        fill: what a black pixel is in the units of the images: `black(mean, std)` of the model's normalization.
        fractions: of the pixels.
        batch_size: images that are scored at once.
        seed: of the order of pixels with equal values.

    Raises:
        InputError: another order, shares that are none, or a batch size below 1.
    """

    order: str
    fill: Fill | None = None
    fractions: tuple[float, ...] = TENTHS
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"order = {self.order!r}; give one of {', '.join(ORDERS)}")
        check_fractions(self.fractions)
        check_counts(batch_size=self.batch_size)

    @property
    def higher_is_better(self) -> bool:
        """Whether the score should stay: where the least relevant pixels are taken."""
        return self.order == "negative"

    def __call__(
        self, score: Score, images: Float[Tensor, "n c h w"], maps: Float[Tensor, "_n _h _w"]
    ) -> Float[Tensor, " n"]:
        """Return the mean over the fractions, in the units of the score.

        The paper's score is whether the prediction is still right; with 1 and 0 for it, this is its accuracy.

        Args:
            score: `score(images, rows)`, such as the probability of the class that is explained.
            images: as the model takes them, `(n, c, h, w)`.
            maps: signed, `(n, h, w)`.

        Raises:
            InputError: no `fill`, maps that do not fit, or NaN.
        """
        if self.fill is None:
            raise InputError("perturbation: no fill; give fill=black(mean, std) of the model's normalization")
        values = checked(images, maps)
        rank = ranks(-values if self.higher_is_better else values, self.seed)
        counts = portions(self.fractions, rank[0].numel())
        return replacing(score, images, canvas(self.fill, images), rank, counts, self.batch_size).mean(1)
