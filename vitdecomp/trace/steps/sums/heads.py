"""A sum in front of a product whose output channels have weights of their own: an attention that pools, head by head.

With weights that differ by head there is a sum for each head, and the product then has the rows of the matrix that are
this head's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.steps.sums.possible import places
from vitdecomp.trace.steps.sums.regroup import MOST_SUMS, Recorded
from vitdecomp.trace.steps.sums.weighted_sum import Shape, SummedStep, WeightedSum
from vitdecomp.trace.steps.sums.weights import in_front


def before_product_by_head(
    step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
) -> SummedStep | None:
    """Push a sum through a matrix whose rows have several factors; of a summed factor one place alone counts."""
    axis, own = len(after) - 1, wanted.weighted(recorded)
    numbers, front = wanted.numbered[axis], len(wanted.sums)
    chosen = {i: places(wanted, i, recorded) for i in numbers if i in wanted.summed}
    heads = [i for i in numbers if i in own and i not in chosen]
    sums = (*wanted.sums, *(wanted.factors[i] for i in heads))
    single = all(len(found) == 1 for found in chosen.values())
    if not single or wanted.image in numbers or before[axis] == 1 or math.prod(sums) > MOST_SUMS:
        return None
    weights = wanted.weights
    for i in own & {*chosen}:
        weights = Gate(torch.narrow, (weights, front + i, chosen[i].start, 1))
    order = (*range(front), *(front + i for i in heads), *(front + i for i in range(numbers.start)))
    ended = (*order, *(front + i for i in numbers if i not in heads))
    found = WeightedSum(
        (*wanted.groups[:axis], (before[axis],)),
        wanted.image,
        wanted.summed - {*numbers},
        sums,
        Gate(in_front, (weights, ended, len(order))),
    )
    rows = tuple((wanted.factors[i], chosen[i].start if i in chosen else None) for i in numbers)
    by_head = tuple(front + heads.index(i) if i in heads else None for i in numbers if i not in chosen)
    return SummedStep(found, Step(times_rows, (step.args[0], rows, by_head, wanted.after)))


def times_rows(
    x: Tensor,
    matrix: Tensor,
    rows: Sequence[tuple[int, int | None]],
    heads: Sequence[int | None],
    after: Shape,
) -> Tensor:
    """Products of each sum with the rows of a matrix that are its own.

    Args:
        x: `(*sums, *heads, ..., channel)`.
        matrix: `(rows, channel)`.
        rows: the factors of the rows, and which place of each counts if only one does.
        heads: for the factors that are left, the axis of x that is the same, if one is.
        after: shape of the result, `(*sums, ..., *factors of the rows)`.
    """
    matrix = matrix.reshape(*(size for size, _ in rows), x.shape[-1])
    for axis, (_, place) in reversed([*enumerate(rows)]):
        matrix = matrix if place is None else matrix.select(axis, place)
    labels = [*range(x.ndim)]
    own = [x.ndim + k if head is None else head for k, head in enumerate(heads)]
    stay = [i for i in labels[:-1] if i not in heads]
    return torch.einsum(x, labels, matrix, [*own, labels[-1]], [*stay, *own]).reshape(after)
