"""A pool in front of a product whose output channels have weights of their own: an attention that pools, head by head.

With weights that differ by head, the heads become lanes: each of them adds up what the product is taken of, and the
product then has the rows of the matrix that are this head's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vitdecomp.trace.passes.sum_pushdown.pool import Pool, Shape
from vitdecomp.trace.passes.sum_pushdown.possible import places
from vitdecomp.trace.passes.sum_pushdown.shapes import LANES, Moved, Recorded
from vitdecomp.trace.passes.sum_pushdown.weights import behind
from vitdecomp.trace.rule import Gate, Step


def before_linear(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    """The pool of what a matrix with rows for several factors is multiplied with; a factor's only place is chosen."""
    axis, own = len(after) - 1, pool.weighted(recorded)
    numbers, front = pool.numbered[axis], len(pool.lanes)
    chosen = {i: places(pool, i, recorded) for i in numbers if i in pool.pooled}
    heads = [i for i in numbers if i in own and i not in chosen]
    lanes = (*pool.lanes, *(pool.factors[i] for i in heads))
    one_each = all(len(found) == 1 for found in chosen.values())
    if not one_each or pool.image in numbers or before[axis] == 1 or math.prod(lanes) > LANES:
        return None
    weights = pool.weights
    for i in own & {*chosen}:
        weights = Gate(torch.narrow, (weights, front + i, chosen[i].start, 1))
    order = (*range(front), *(front + i for i in heads), *(front + i for i in range(numbers.start)))
    ended = (*order, *(front + i for i in numbers if i not in heads))
    moved = Pool(
        (*pool.groups[:axis], (before[axis],)),
        pool.image,
        pool.pooled - {*numbers},
        lanes,
        Gate(behind, (weights, ended, len(order))),
    )
    rows = tuple((pool.factors[i], chosen[i].start if i in chosen else None) for i in numbers)
    by_head = tuple(front + heads.index(i) if i in heads else None for i in numbers if i not in chosen)
    return moved, Step(times_rows, (step.args[0], rows, by_head, pool.after))


def times_rows(
    x: Tensor,
    matrix: Tensor,
    rows: Sequence[tuple[int, int | None]],
    heads: Sequence[int | None],
    after: Shape,
) -> Tensor:
    """Products of each lane with the rows of a matrix that are its own.

    Args:
        x: `(*lanes, *heads, ..., channel)`.
        matrix: `(rows, channel)`.
        rows: the factors of the rows, and which place of each counts if only one does.
        heads: for the factors that are left, the axis of x that is the same, if one is.
        after: shape of the result, `(*lanes, ..., *factors of the rows)`.
    """
    matrix = matrix.reshape(*(size for size, _ in rows), x.shape[-1])
    for axis, (_, place) in reversed([*enumerate(rows)]):
        matrix = matrix if place is None else matrix.select(axis, place)
    labels = [*range(x.ndim)]
    own = [x.ndim + k if head is None else head for k, head in enumerate(heads)]
    stay = [i for i in labels[:-1] if i not in heads]
    return torch.einsum(x, labels, matrix, [*own, labels[-1]], [*stay, *own]).reshape(after)
