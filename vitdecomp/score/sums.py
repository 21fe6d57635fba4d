"""Sums over images from which all scores follow: made in one pass, and no larger for more images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor


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
    """Means and centred second moments of contributions x_i and their total t, in r coordinates and in float64.

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
            centred = (x - batch.mean).transpose(0, 1)
            batch.cross = centred.mT @ centred.sum(0)
            batch.own = centred.mT @ centred
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
        """The moments of projections on some directions; the components' cross moments add up to the total's."""
        cross, own = (torch.einsum("ir,crs,is->ci", rows, m, rows) for m in (self.cross, self.own))
        return Moments(cross, own, cross.sum(0))

    def varies(self, least: float) -> Tensor:
        """Which components' spread is more than rounding against the size of their mean, `(component,)`."""
        spread = self.own.diagonal(dim1=1, dim2=2).sum(1) / max(self.n, 1)
        found: Tensor = spread > least**2 * (spread + self.mean.square().sum(1))
        return found
