"""How much of the contributions is explained by how many texts, chosen from how large a pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp_alignment.textspan.greedy import Variation, choose
from vitdecomp_alignment.textspan.textspan import check_pool

SMALLEST = 100  # of the pools by default; the next ones are 300, 1,000, 3,000 ...
CHUNK = 32  # components held at a time


@dataclass(frozen=True, slots=True)
class SpanSize:
    """What bases of one size explain when they are chosen from pools of one size.

    Attributes:
        pool: M, texts to choose from.
        m: texts chosen for each component.
        weighted: share of variance explained, components weighted by their variance; the mean over the draws.
        weighted_spread: its standard deviation over the draws of the pool.
        mean: share of variance explained, every component that varies counting alike; the mean over the draws.
        mean_spread: its standard deviation over the draws.
        draws: how many pools were drawn; the whole pool is drawn once.
    """

    pool: int
    m: int
    weighted: float
    weighted_spread: float
    mean: float
    mean_spread: float
    draws: int


def span_sizes(
    c: Contributions,
    texts: Tensor,
    *,
    m: Sequence[int] = (1, 2, 5, 10, 20, 50),
    pools: Sequence[int] | None = None,
    rank: int | None = None,
    random_state: int = 0,
    repeats: int = 3,
) -> list[SpanSize]:
    """Measure what TextSpan (arXiv 2310.05916, Algorithm 1) explains, by the size of the basis and of the pool.

    A pool of M texts is drawn as the first M of the texts in random order, so that a smaller pool of the same draw is
    part of a larger one. A greedy basis is the beginning of any longer one from the same pool, so that each pool is
    searched once, for the largest m. The shares are those of the contributions that the texts were chosen for.

    Args:
        c: contributions to n images, in the space of the texts.
        texts: embeddings of the whole pool, `(pool, d)`.
        m: sizes of the basis.
        pools: sizes of the pool; by default 100, 300, 1,000, 3,000 ... and the whole pool.
        rank: as in `TextSpan`.
        random_state: which texts are drawn.
        repeats: draws for each size of the pool below the whole.

    Returns:
        A row for each size of the pool and of the basis, in rising order.

    Raises:
        InputError: shapes do not fit, there are fewer than two images, a value is not finite, or no component varies.
        SpecError: a size is not positive, or larger than the pool; no sizes are given; repeats is not positive.
    """
    check_pool(c, texts)
    sizes, bases = _pools(len(texts)) if pools is None else sorted(set(pools)), sorted(set(m))
    _check(sizes, bases, len(texts), rank, repeats)
    generator = np.random.default_rng(random_state)
    orders = [generator.permutation(len(texts)) for _ in range(repeats)]
    draws = {size: orders if size < len(texts) else orders[:1] for size in sizes}
    explained, total = _explained(c, texts, draws, bases, rank)
    if not bool(total.any()):
        raise InputError("no component varies over these images: there is nothing to explain")
    weight, alike = total / total.sum(), (total > 0).double() / (total > 0).sum()
    rows = []
    for size in sizes:
        shares = torch.stack(explained[size])
        weighted, mean = (torch.einsum("rcm,c->mr", shares, by) for by in (weight, alike))
        rows += [_row(size, *row) for row in zip(bases, weighted, mean, strict=True)]
    return rows


def _row(pool: int, m: int, weighted: Float64[Tensor, " draw"], mean: Float64[Tensor, " draw"]) -> SpanSize:
    return SpanSize(
        pool=pool,
        m=m,
        weighted=float(weighted.mean()),
        weighted_spread=float(weighted.std(correction=0)),
        mean=float(mean.mean()),
        mean_spread=float(mean.std(correction=0)),
        draws=len(mean),
    )


def _explained(
    c: Contributions, texts: Tensor, draws: dict[int, list[np.ndarray]], bases: Sequence[int], rank: int | None
) -> tuple[dict[int, list[Float64[Tensor, "component m"]]], Float64[Tensor, " component"]]:
    """Shares explained for each size of the pool and draw, and the components' variances times n."""
    found: dict[int, list[Tensor]] = {
        size: [torch.zeros(len(c.components), len(bases), dtype=torch.float64) for _ in orders]
        for size, orders in draws.items()
    }
    total = torch.zeros(len(c.components), dtype=torch.float64)
    for start in range(0, len(c.components), CHUNK):
        parts = [Variation.of(values, rank) for values in c.values[:, start : start + CHUNK].unbind(1)]
        total[start : start + CHUNK] = torch.tensor([part.total for part in parts], dtype=torch.float64)
        for size, orders in draws.items():
            for order, shares in zip(orders, found[size], strict=True):
                chosen = torch.from_numpy(np.sort(order[:size])).to(texts.device)
                for k, span in enumerate(choose(parts, texts[chosen], bases[-1]), start):
                    shares[k] = torch.stack([span.explained[:basis].double().sum().cpu() for basis in bases])
    return found, total


def _pools(largest: int) -> list[int]:
    sizes = (factor * SMALLEST * 10**power for power in range(len(str(largest))) for factor in (1, 3))
    return [*(size for size in sizes if size < largest), largest]


def _check(sizes: Sequence[int], bases: Sequence[int], largest: int, rank: int | None, repeats: int) -> None:
    if not sizes or sizes[0] < 1 or sizes[-1] > largest:
        raise SpecError(f"sizes of the pool must be from 1 to {largest:,}, all the texts there are, not {list(sizes)}")
    if not bases or bases[0] < 1:
        raise SpecError(f"sizes of the basis must be positive, not {list(bases)}")
    if repeats < 1 or (rank is not None and rank < 1):
        raise SpecError(f"repeats and rank must be positive, not {repeats} and {rank}")
