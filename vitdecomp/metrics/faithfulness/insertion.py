"""Insertion: the score while the pixels that a map ranks highest come back into a blurred image.

References:
    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv 1806.07421.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vitdecomp.metrics.faithfulness.filters import gaussian, smooth
from vitdecomp.metrics.faithfulness.scoring import Score, area, check_counts, checked, ranks

WIDTH, SIGMA = 11, 5.0  # of the blur, in pixels
REACH = 20  # four standard deviations


@dataclass(frozen=True, slots=True)
class Insertion:
    """Area under the score while the pixels return to a blurred image, largest values first. Higher is better.

    Args:
        step: pixels that are inserted at a time; one row of 224 in the paper.
        batch_size: images that are scored at once.
        seed: of the order of pixels with equal values.

    Raises:
        InputError: a step or batch size below 1.
    """

    step: int = 224
    batch_size: int = 64
    seed: int = 0
    higher_is_better = True

    def __post_init__(self) -> None:
        check_counts(step=self.step, batch_size=self.batch_size)

    def __call__(
        self, score: Score, images: Float[Tensor, "n c h w"], maps: Float[Tensor, "_n _h _w"]
    ) -> Float[Tensor, " n"]:
        """Return the trapezoid rule's area over the share of pixels inserted, in the units of the score.

        Args:
            score: `score(images, rows)`, such as the probability of the class that is explained.
            images: as the model takes them, `(n, c, h, w)`.
            maps: signed, `(n, h, w)`.

        Raises:
            InputError: maps that do not fit, NaN, or a step larger than the image.
        """
        rank = ranks(checked(images, maps), self.seed)
        return area(score, blurred(images), images, rank, self.step, self.batch_size)


def blurred(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Blur images as the paper's code does, with zeros (the mean color) around them."""
    precise = images.to(torch.promote_types(images.dtype, torch.float32))
    return smooth(precise, blur_kernel()).to(images.dtype)


def blur_kernel() -> Float64[Tensor, " k"]:
    """Return the one-dimensional kernel of the blur.

    The paper's code filters a single pixel of an 11 x 11 image with a Gaussian that is reflected at the borders:
    what falls outside is folded back, and the kernel is nearly flat. A Gaussian cut off at 11 would be narrower.
    """
    place = torch.arange(-REACH, REACH + 1, device="cpu") + WIDTH // 2
    place = place % (2 * WIDTH)
    folded = torch.minimum(place, 2 * WIDTH - 1 - place)
    return torch.zeros(WIDTH, dtype=torch.float64, device="cpu").index_add_(0, folded, gaussian(REACH, SIGMA))
