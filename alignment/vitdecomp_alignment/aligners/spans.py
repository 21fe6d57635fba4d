"""The subspace in which each component's contributions lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.distributed.process_group import Ranks
from vitdecomp_alignment.aligners.broadcast import Values, broadcast
from vitdecomp_alignment.aligners.coefficients import Coefficients
from vitdecomp_alignment.aligners.maps import Span

# A direction weaker than this, relative to the strongest, is rounding.
NOISE = {torch.float64: 1e-7, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
LOOKED_AT = 4  # images for each dimension


def find_spans(kept: Coefficients, *, max_rank: int | None = None, seed: int = 0) -> tuple[Span, ...]:
    """Orthonormal bases of what the components contribute.

    Where a store says which columns a component spans, they are taken, and no image is looked at. All others are found
    from some images alone. A component that spans r dimensions gets the next power of two, at most d, so that few
    shapes occur. Images that leave the subspace (when there were too few to see it all) are mapped by the shared map
    there.

    Args:
        kept: coefficients of all components.
        max_rank: keep no more than so many leading directions of each.
        seed: which images are looked at, if there are more than needed.
    """
    d, most = kept.dimension, max_rank or kept.dimension
    known = {i: basis for i, basis in enumerate(kept.bases) if basis is not None and _round_up(basis.shape[1]) <= most}
    bases = {i: _completed(basis, min(_round_up(basis.shape[1]), d)) for i, basis in known.items()}
    looked_at = [i for i in range(len(kept.bases)) if i not in known]
    for i, scatter in zip(looked_at, _scatter(kept, looked_at, seed), strict=True):
        bases[i] = _leading(scatter, kept.bases[i], NOISE[kept.own_dtype], most)
    sizes = np.array([bases[i].shape[1] for i in range(len(kept.bases))])
    return tuple(_span(np.flatnonzero(sizes == size), bases) for size in np.unique(sizes))


def broadcast_spans(
    kept: Coefficients, ranks: Ranks, *, max_rank: int | None = None, seed: int = 0
) -> tuple[Span, ...]:
    """Find spans in the first process and broadcast them to all.

    Raises:
        RankError: another process has ended.
    """
    if ranks.world_size == 1:
        return find_spans(kept, max_rank=max_rank, seed=seed)
    tensors, count = broadcast(ranks, lambda: _written(find_spans(kept, max_rank=max_rank, seed=seed)))
    return tuple(Span(tensors[f"{i}.rows"], tensors.get(f"{i}.basis")) for i in range(count))


def _written(spans: Sequence[Span]) -> Values:
    named = {f"{i}.{part}": getattr(span, part) for i, span in enumerate(spans) for part in ("rows", "basis")}
    return {name: tensor for name, tensor in named.items() if tensor is not None}, len(spans)


def whole_space(kept: Coefficients) -> tuple[Span, ...]:
    """Return all components with all dimensions, in the coordinates of the representation."""
    return (Span(torch.arange(len(kept.bases))),)


def _span(rows: np.ndarray, bases: Mapping[int, Float[Tensor, "d _"]]) -> Span:
    chosen = torch.stack([bases[int(i)] for i in rows])
    d, r = chosen.shape[1:]
    return Span(torch.from_numpy(rows), None if r == d else chosen.contiguous())


def _scatter(kept: Coefficients, components: Sequence[int], seed: int) -> list[Float[Tensor, "_ _"]]:
    """Sum a^T a in float64 over some images, for some components."""
    columns = [slice(int(kept.starts[i]), int(kept.starts[i + 1])) for i in components]
    total = [torch.zeros(kept.widths[i], kept.widths[i], dtype=torch.float64) for i in components]
    for _, a in kept.sample(LOOKED_AT * kept.dimension, seed) if components else ():
        for own, found in zip(columns, total, strict=True):
            part = a[:, own].double()
            found.addmm_(part.T, part)
    return total


def _leading(
    scatter: Float[Tensor, "r r"], basis: Float[Tensor, "d r"] | None, noise: float, most: int
) -> Float[Tensor, "d _"]:
    """Find the strongest directions, as many as are more than noise, rounded up."""
    strength, vectors = torch.linalg.eigh(scatter)
    rank = max(1, int((strength > strength[-1:] * noise**2).sum()))
    found: Tensor = vectors.flip(1) if basis is None else basis.double() @ vectors.flip(1)
    return found[:, : min(_round_up(rank), most)]


def _completed(basis: Float[Tensor, "d r"], size: int) -> Float[Tensor, "d size"]:
    """Complete a basis by further orthonormal columns behind its own."""
    own, r = basis.double(), basis.shape[1]
    if size == r:
        return own
    q: Tensor = torch.linalg.qr(torch.cat([own, torch.eye(len(own), dtype=own.dtype)], 1)).Q
    return torch.cat([own, q[:, r:size]], 1)


def _round_up(rank: int) -> int:
    return 1 << (max(rank, 1) - 1).bit_length()
