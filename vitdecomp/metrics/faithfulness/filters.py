"""Separable filters as sums of shifted images: a convolution may round to ten bits on a GPU."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import pad


def gaussian(radius: int, sigma: float) -> Float64[Tensor, " k"]:
    """Return the weights of a Gaussian at -radius .. radius, which sum to 1."""
    place = torch.arange(-radius, radius + 1, dtype=torch.float64, device="cpu")
    weights = torch.exp(-0.5 * (place / sigma).square())
    return weights / weights.sum()


@torch.no_grad()
def smooth(x: Float[Tensor, "*batch h w"], kernel: Float64[Tensor, " k"]) -> Float[Tensor, "*batch h w"]:
    """Filter the last two axes with a symmetric kernel of odd length; beyond the borders is zero."""
    radius = len(kernel) // 2
    for axis, margins in ((-2, (0, 0, radius, radius)), (-1, (radius, radius))):
        padded, total = pad(x, margins), torch.zeros_like(x)
        for i, weight in enumerate(kernel.tolist()):
            total.add_(padded.narrow(axis, i, x.shape[axis]), alpha=weight)
        x = total
    return x
