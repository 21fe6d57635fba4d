"""A sum in front of an attention's pattern: how often the queries that are added up read each key."""

from __future__ import annotations

import math
from typing import Any

import torch

from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.rules.attention import rows_of
from vitdecomp.trace.steps.sums.possible import places
from vitdecomp.trace.steps.sums.regroup import Recorded, back_in_shape
from vitdecomp.trace.steps.sums.weighted_sum import Shape, SummedStep, WeightedSum
from vitdecomp.trace.steps.sums.weights import key_weights


def before_pattern(
    step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
) -> SummedStep | None:
    """Push a sum over queries through `A @ V`: it becomes a sum over keys with the weights `w @ A`."""
    query = len(after) - 2
    lead, width = wanted.groups[:query], wanted.single(len(after) - 1)
    whole = all(i in wanted.summed or wanted.factors[i] == 1 for i in wanted.numbered[query])
    free = width is not None and width not in wanted.summed | wanted.weighted(recorded)
    key = sum(len(group) for group in lead)
    if query < 1 or before[:query] != after[:query] or not free or not whole or wanted.image >= key:
        return None
    chosen = frozenset(i for i in wanted.summed if i < key) | {key}
    axes = tuple(-1 if wanted.image in wanted.numbered[a] else math.prod(group) for a, group in enumerate(lead))
    weights, pattern, sizes = _nonzero_queries(wanted, step.args[0], key, recorded)
    weights = Gate(key_weights, (weights, pattern, sizes, axes, wanted.view[:key]))
    found = WeightedSum((*lead, (before[query],), wanted.groups[-1]), wanted.image, chosen, wanted.sums, weights)
    return back_in_shape(found, wanted)


def _nonzero_queries(wanted: WeightedSum, pattern: Any, query: int, recorded: Recorded) -> tuple[Gate, Any, Shape]:
    """Select the queries whose weights can be nonzero: their weights, their pattern, and the sizes of the factors."""
    axis, sizes = len(wanted.sums) + query, wanted.view[:-1]
    if wanted.single(len(wanted.groups) - 2) != query or query not in wanted.weighted(recorded):
        return wanted.weights, pattern, sizes
    counts = places(wanted, query, recorded)
    if len(counts) == wanted.factors[query]:
        return wanted.weights, pattern, sizes
    start, length = counts.start, len(counts)
    some = Gate(torch.narrow, (wanted.weights, axis, start, length))
    return some, Gate(rows_of, (pattern, start, length)), (*sizes[:query], length)
