"""How alike two heatmaps are: by rank, and by local structure.

References:
    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity",
    2004.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.metrics.faithfulness.filters import gaussian, smooth

RADIUS, SIGMA = 5, 1.5  # of the window, in pixels
C1, C2 = 0.01**2, 0.03**2


def spearman(a: Float[Tensor, "n h w"], b: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """Return the correlation of the pixels' ranks, from -1 to 1; equal values share their mean rank.

    A constant map has no ranks: its correlation is 0.
    """
    x, y = (_centered_ranks(m.flatten(1)) for m in (a, b))
    size: Tensor = x.norm(dim=1) * y.norm(dim=1)
    return ((x * y).sum(1) / size).where(size > 0, 0.0)


def ssim(a: Float[Tensor, "n h w"], b: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """Return the mean structural similarity, from -1 to 1, of maps that are each scaled to 0 .. 1.

    The window is a Gaussian of 11 pixels (fewer for smaller maps) that stays inside the map.
    """
    radius = min(RADIUS, (min(a.shape[1:]) - 1) // 2)
    kernel = gaussian(radius, SIGMA)
    x, y = _scaled(a), _scaled(b)

    def local(values: Tensor) -> Tensor:
        h, w = values.shape[1:]
        return smooth(values, kernel)[:, radius : h - radius, radius : w - radius]

    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return (above / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))).mean((1, 2))


def _centered_ranks(values: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
    order = values.sort(dim=1).values
    below, until = (torch.searchsorted(order, values.contiguous(), side=side) for side in ("left", "right"))
    return (below + until - values.shape[1]).to(values) / 2


def _scaled(maps: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1.0)
