"""Sums over images from which all scores follow: made in one pass, and no larger for more images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from vitdecomp._utils.tolerance import check_varies

STILL = 1e-6  # of the size of contributions: what varies less does so by rounding


@dataclass(frozen=True, slots=True)
class Moments:
    """Second moments of projections on some directions.

    Attributes:
        cross: of every component's projection with the total's, `(*batch, component, k)`.
        own: of every component's with itself. total: of the total's, `(*batch, k)`.
    """

    cross: Float64[Tensor, "*batch component k"]
    own: Float64[Tensor, "*batch component k"]
    total: Float64[Tensor, "*batch k"]


class Sums:
    """Means and centered second moments of contributions x_i and their total t, in r coordinates and in float64.

    Batches are joined as in Chan, Golub and LeVeque (1979), so that a large mean costs no digits.

    Args:
        components: how many. rank: r.

    Attributes:
        n: images so far. mean: of x_i, `(component, r)`.
        cross: sum of (x_i - mean)(t - mean)^T, `(component, r, r)`. own: of (x_i - mean)(x_i - mean)^T.
    """

    def __init__(self, components: int, rank: int) -> None:
        self.n = 0
        self.mean = torch.zeros(components, rank, dtype=torch.float64)
        self.cross = torch.zeros(components, rank, rank, dtype=torch.float64)
        self.own = torch.zeros_like(self.cross)

    def add(self, x: Float64[Tensor, "n component r"]) -> None:
        """Take a batch in."""
        if len(x):
            batch = Sums(x.shape[1], 0)
            batch.n, batch.mean = len(x), x.mean(0)
            centered = (x - batch.mean).transpose(0, 1)
            batch.cross = centered.mT @ centered.sum(0)
            batch.own = centered.mT @ centered
            self.merge(batch)

    def merge(self, other: Sums) -> None:
        """Take in what another has seen."""
        n = self.n + other.n
        if not other.n:
            return
        apart = other.mean - self.mean
        weight = self.n * other.n / n
        self.cross += other.cross + weight * apart[:, :, None] * apart.sum(0)
        self.own += other.own + weight * apart[:, :, None] * apart[:, None]
        self.mean = self.mean + apart * (other.n / n)
        self.n = n

    def along(self, rows: Float64[Tensor, "k r"]) -> Moments:
        """Compute the moments of projections on some directions; the components' cross moments add up to the total's.

        Where a component's own is but rounding against its spread in all directions, it is 0.
        """
        cross, own = (torch.einsum("ir,crs,is->ci", rows, m, rows) for m in (self.cross, self.own))
        least = STILL**2 * self.own.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
        return Moments(cross, own.where(own > least, 0), cross.sum(0))

    def varies(self) -> Bool[Tensor, " component"]:
        """Return which components' spread is more than rounding against the size of their mean."""
        spread = self.own.diagonal(dim1=1, dim2=2).sum(1) / max(self.n, 1)
        found: Tensor = spread > STILL**2 * (spread + self.mean.square().sum(1))
        return found

    def check_varies(self, dtype: torch.dtype) -> None:
        """Raise `InputError` if no component varies by more than the rounding of the contributions' format."""
        spread = float(self.own.diagonal(dim1=1, dim2=2).sum()) / max(self.n, 1)
        check_varies(spread**0.5, (spread + float(self.mean.square().sum())) ** 0.5, dtype, "the contributions")
