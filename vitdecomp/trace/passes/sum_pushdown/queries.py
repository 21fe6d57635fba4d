"""A pool in front of an attention's pattern: how often each key is asked for, by the queries that count."""

from __future__ import annotations

import math
from typing import Any

import torch

from vitdecomp.trace.passes.sum_pushdown.pool import Pool, Shape
from vitdecomp.trace.passes.sum_pushdown.possible import places
from vitdecomp.trace.passes.sum_pushdown.shapes import Moved, Recorded, back_in_shape
from vitdecomp.trace.passes.sum_pushdown.weights import asked
from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.rules.attention import rows_of


def before_pattern(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Recorded) -> Moved | None:
    """Queries that are added up ask for each key as often as their patterns together say."""
    query = len(after) - 2
    lead, width = pool.groups[:query], pool.single(len(after) - 1)
    whole = all(i in pool.pooled or pool.factors[i] == 1 for i in pool.numbered[query])
    free = width is not None and width not in pool.pooled | pool.weighted(recorded)
    key = sum(len(group) for group in lead)
    if query < 1 or before[:query] != after[:query] or not free or not whole or pool.image >= key:
        return None
    chosen = frozenset(i for i in pool.pooled if i < key) | {key}
    axes = tuple(-1 if pool.image in pool.numbered[a] else math.prod(group) for a, group in enumerate(lead))
    weights, pattern, sizes = _that_count(pool, step.args[0], key, recorded)
    weights = Gate(asked, (weights, pattern, sizes, axes, pool.view[:key]))
    moved = Pool((*lead, (before[query],), pool.groups[-1]), pool.image, chosen, pool.lanes, weights)
    return back_in_shape(moved, pool)


def _that_count(pool: Pool, pattern: Any, query: int, recorded: Recorded) -> tuple[Gate, Any, Shape]:
    """The weights of the queries that have any, their pattern, and the sizes of all factors but the width."""
    axis, sizes = len(pool.lanes) + query, pool.view[:-1]
    if pool.single(len(pool.groups) - 2) != query or query not in pool.weighted(recorded):
        return pool.weights, pattern, sizes
    counts = places(pool, query, recorded)
    if len(counts) == pool.factors[query]:
        return pool.weights, pattern, sizes
    start, length = counts.start, len(counts)
    some = Gate(torch.narrow, (pool.weights, axis, start, length))
    return some, Gate(rows_of, (pattern, start, length)), (*sizes[:query], length)
