"""From coefficients as a source keeps them to the coordinates in which maps are learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from vitdecomp_alignment.aligners.coefficients import Coefficients
from vitdecomp_alignment.aligners.maps import Span


@dataclass(frozen=True, slots=True)
class BasisChange:
    """Change the basis of one span's components, from the stored one to that of the maps.

    Attributes:
        places: columns of the coefficients, of one component after the other; a range if they are neighbours.
        matrix: B^T U of each, from the columns B in which it is kept to those of the span, U; `None` if they are the
            same.
    """

    places: range | Int64[Tensor, " k_times_r"]
    matrix: Float[Tensor, "k r s"] | None

    def __call__(self, a: Float[Tensor, "n R"]) -> Float[Tensor, "n k_times_s"]:
        """Their coordinates side by side."""
        own = a[:, self.places.start : self.places.stop] if isinstance(self.places, range) else a[:, self.places]
        if self.matrix is None:
            return own
        k, r, _ = self.matrix.shape
        return torch.einsum("nkr,krs->nks", own.reshape(len(a), k, r), self.matrix).flatten(1)


class BasisChanges:
    """Compute the coordinates of all spans side by side, from stored coefficients.

    Args:
        coefficients: how a source keeps the components.
        spans: subspaces of components.
    """

    def __init__(self, coefficients: Coefficients, spans: Sequence[Span]) -> None:
        self.parts = tuple(_basis_change(coefficients, span) for span in spans)

    def __call__(self, a: Float[Tensor, "n R"]) -> tuple[Float[Tensor, "n _"], ...]:
        """Compute the coordinates in each span, `(n, k r)`."""
        return tuple(part(a) for part in self.parts)


def _basis_change(kept: Coefficients, span: Span) -> BasisChange:
    rows = span.rows.tolist()
    bases = [None if span.basis is None else span.basis[place].to(kept.dtype) for place in range(len(rows))]
    wide = max(kept.widths[i] for i in rows)
    index = torch.cat([_columns(kept, i, wide) for i in rows])
    first = int(index[0]) if len(index) else 0
    neighbours = range(first, first + len(index))
    places = neighbours if torch.equal(index, torch.arange(first, first + len(index))) else index
    if all(_same(kept.bases[i], basis) for i, basis in zip(rows, bases, strict=True)):
        return BasisChange(places, None)
    matrices = (_between(kept.bases[i], basis, kept) for i, basis in zip(rows, bases, strict=True))
    return BasisChange(places, torch.stack([pad(matrix, (0, 0, 0, wide - len(matrix))) for matrix in matrices]))


def _columns(kept: Coefficients, i: int, wide: int) -> Int64[Tensor, " wide"]:
    """Return where a component's coefficients are, with any others behind them, which count for nothing."""
    own = torch.arange(int(kept.starts[i]), int(kept.starts[i + 1]))
    return pad(own, (0, wide - len(own)))


def _same(basis: Tensor | None, other: Tensor | None) -> bool:
    if basis is None or other is None:
        return basis is other
    return torch.equal(basis.to(other), other)


def _between(basis: Tensor | None, other: Tensor | None, kept: Coefficients) -> Float[Tensor, "r s"]:
    """B^T U, where no columns are those of the whole space."""
    if basis is None:
        return torch.eye(kept.dimension, dtype=kept.dtype) if other is None else other
    transposed = basis.T.to(kept.dtype)
    return transposed if other is None else transposed @ other
