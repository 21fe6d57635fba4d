"""Principal directions: along which the contributions of a component vary most over images."""

from __future__ import annotations

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.progress import Progress
from vitdecomp.component import Component
from vitdecomp.errors import InputError, SpecError
from vitdecomp.sources.source import Columns, Source
from vitdecomp.units.directions import Directions
from vitdecomp.units.splitter import Splitter

BATCH = 4096  # images read at a time
VARIES = 1e-12  # share of a component's mean square below which its variance is rounding
Self = TypeVar("Self", bound="PrincipalDirections")


class PrincipalDirections(Splitter):
    """The k directions of largest variance of every component, over images (ResiDual, arXiv 2411.00246).

    u_j are the leading eigenvectors of the covariance of c, the contributions of one component. They come from sums
    over images, in the coordinates in which a store keeps a component, and memory is that of one component.

    Args:
        k: directions of each component at most; those without variance are left out.

    Attributes:
        directions_: of all components that vary; `strengths` are their variances.
    """

    def __init__(self, k: int = 4) -> None:
        self.k = k

    def fit(self: Self, source: Source, progress: Progress | None = None) -> Self:
        """Find the directions, one component at a time.

        Args:
            source: contributions in memory or on disk.
            progress: called with the components done and their number.

        Raises:
            InputError: fewer than two images. SpecError: k is not positive.
        """
        if self.k < 1:
            raise SpecError(f"k must be 1 or more, not {self.k}")
        if len(source) < 2:
            raise InputError("principal directions need two images at least")
        columns = source if isinstance(source, Columns) else source.take(range(len(source)))
        bases, strengths = {}, {}
        for done, component in enumerate(columns.components, 1):
            covariance, square = _covariance(columns, component)
            variance, vectors = torch.linalg.eigh(covariance)
            kept = variance.flip(0)[: self.k] > VARIES * max(square, 1e-300)
            if bool(kept.any()) and not component.is_constant:
                basis, leading = columns.basis(component), vectors.flip(1)[:, : self.k][:, kept]
                bases[component] = (leading if basis is None else basis.double() @ leading).T.float()
                strengths[component] = variance.flip(0)[: self.k][kept]
            if progress is not None:
                progress(done, len(columns.components))
        self.directions_ = Directions(columns.components, bases, strengths)
        return self


def _covariance(columns: Columns, component: Component) -> tuple[Float[Tensor, "r r"], float]:
    """Compute the covariance of a component's coefficients, and their mean square, in float64."""
    total = outer = None
    n = len(columns)
    for start in range(0, n, BATCH):
        a = columns.coefficients(component, range(start, min(start + BATCH, n))).detach().double()
        total = a.sum(0) if total is None else total + a.sum(0)
        outer = a.T @ a if outer is None else outer + a.T @ a
    assert total is not None
    assert outer is not None
    return (outer - torch.outer(total, total) / n) / (n - 1), float(outer.diagonal().sum()) / n
