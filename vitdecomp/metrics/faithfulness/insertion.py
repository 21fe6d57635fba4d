"""Insertion: the score while the pixels that a map ranks highest come back into a blurred image.

References:
    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv 1806.07421.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vitdecomp.metrics.faithfulness.curve import Curve
from vitdecomp.metrics.faithfulness.filters import gaussian, smooth

WIDTH, SIGMA = 11, 5.0  # of the blur, in pixels
REACH = 20  # four standard deviations


@dataclass(frozen=True)
class Insertion(Curve):
    """Area under the score while the pixels return to a blurred image, largest values first. Higher is better.

    The other arguments are those of `Curve`.
    """

    higher_is_better = True

    def ends(self, images: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n c h w"]]:
        """Go from blurred images to the images."""
        return blurred(images), images


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
