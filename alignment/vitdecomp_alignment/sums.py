"""Sums over images from which least-squares maps follow: made in one pass, and no larger for more images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp_alignment.maps import Span


class Sums:
    """x^T x, x^T t, s^T t and the sum of |t|^2, in float64.

    x are the components' coordinates side by side, s their sum in the representation's space, t the target.

    Args:
        spans: whose coordinates.
        d: of the representation.
        d_clip: of the target.

    Attributes:
        inner: `(R, R)`. cross: `(R, d_clip)`. whole: `(d, d_clip)`. square: of the targets. n: images so far.
    """

    def __init__(self, spans: Sequence[Span], d: int, d_clip: int) -> None:
        self.spans = spans
        width = sum(len(s.rows) * (d if s.basis is None else s.basis.shape[2]) for s in spans)
        self.inner = torch.zeros(width, width, dtype=torch.float64)
        self.cross = torch.zeros(width, d_clip, dtype=torch.float64)
        self.whole = torch.zeros(d, d_clip, dtype=torch.float64)
        self.square, self.n = 0.0, 0

    def add(self, values: Float[Tensor, "n component d"], target: Float[Tensor, "n d_clip"]) -> None:
        """Take a batch in. Every image counts alike: it is scaled so that its total and its target have length one."""
        values, target = values.double(), torch.nn.functional.normalize(target.double(), dim=1)
        lengths = values.sum(1).norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        values = values / lengths[:, None, None]
        x = torch.cat([span.coordinates(values).flatten(1) for span in self.spans], dim=1)
        self.inner.addmm_(x.T, x)
        self.cross.addmm_(x.T, target)
        self.whole.addmm_(values.sum(1).T, target)
        self.square += float(target.square().sum())
        self.n += len(values)

    def merge(self, other: Sums) -> None:
        """Take in what another has seen."""
        for mine, more in ((self.inner, other.inner), (self.cross, other.cross), (self.whole, other.whole)):
            mine.add_(more)
        self.square, self.n = self.square + other.square, self.n + other.n

    def error(self, weight: Float[Tensor, "R d_clip"]) -> float:
        """The mean of |x W - t|^2 over the images; 2 (1 - cos) where |x W| = 1."""
        explained = (weight * (self.inner @ weight - 2 * self.cross)).sum()
        return (float(explained) + self.square) / self.n

    def procrustes(self) -> Float[Tensor, "d d_clip"]:
        """The map with orthonormal rows or columns that takes totals nearest to the targets (Schönemann, 1966)."""
        u, _, vh = torch.linalg.svd(self.whole, full_matrices=False)
        nearest: Tensor = u @ vh
        return nearest

    def ridge(self, towards: Float[Tensor, "R d_clip"], strength: float) -> Float[Tensor, "R d_clip"]:
        """argmin of |x W - t|^2 + l |W - towards|^2, with l = strength times the mean diagonal of x^T x."""
        penalised = self.inner.clone()
        penalised.diagonal().add_(strength * float(self.inner.diagonal().mean()))
        missing = self.cross - self.inner @ towards
        solved: Tensor = torch.cholesky_solve(missing, torch.linalg.cholesky(penalised))
        return towards + solved
