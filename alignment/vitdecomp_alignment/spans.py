"""The subspace in which each component's contributions lie."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.contributions import Contributions
from vitdecomp.source import Source
from vitdecomp_alignment.maps import Span

# A direction weaker than this, relative to the strongest, is rounding.
NOISE = {torch.float64: 1e-7, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
LOOKED_AT = 4  # images for each dimension


def find_spans(source: Source, *, max_rank: int | None = None, seed: int = 0, batch_size: int = 64) -> tuple[Span, ...]:
    """Orthonormal bases of what the components contribute to some images, found from the data alone.

    A component that spans r dimensions gets the next power of two, at most d, so that few shapes occur. Images that
    leave the subspace (when there were too few to see it all) are mapped by the shared map there.

    Args:
        source: contributions.
        max_rank: keep no more than so many leading directions of each.
        seed: which images are looked at, if there are more than needed.
        batch_size: images read at a time.
    """
    n, d = min(len(source), LOOKED_AT * source.dimension), source.dimension
    rows = np.sort(np.random.default_rng(seed).permutation(len(source))[:n]).tolist()
    scatter, noise = _scatter(source.take(rows[i : i + batch_size]) for i in range(0, n, batch_size))
    strength, vectors = torch.linalg.eigh(scatter)
    ranks = (strength > strength[:, -1:] * noise**2).sum(1).clamp(min=1)
    sizes = np.array([min(_round_up(int(r)), d, max_rank or d) for r in ranks])
    leading = vectors.flip(2)
    return tuple(
        _span(torch.from_numpy(np.flatnonzero(sizes == size)), leading[..., :size]) for size in np.unique(sizes)
    )


def whole_space(source: Source) -> tuple[Span, ...]:
    """All components with all dimensions, in the coordinates of the representation."""
    return (Span(torch.arange(len(source.components))),)


def _span(rows: Tensor, leading: Float[Tensor, "component d r"]) -> Span:
    d, r = leading.shape[1:]
    return Span(rows, None if r == d else leading[rows].contiguous())


def _scatter(batches: Iterable[Contributions]) -> tuple[Float[Tensor, "component d d"], float]:
    """Sums of c^T c in float64, and the noise level of the contributions."""
    total, noise = torch.zeros(()), NOISE[torch.float32]
    for c in batches:
        values = c.values.double()
        total = total + torch.einsum("ncd,nce->cde", values, values)
        noise = NOISE[c.values.dtype]
    return total, noise


def _round_up(rank: int) -> int:
    return 1 << (rank - 1).bit_length()
