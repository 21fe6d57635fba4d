"""A pool in front of an attention's pattern: how often each key is asked for, by the queries that count."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vitdecomp.trace.linear_graph import resolve
from vitdecomp.trace.pool_shapes import Moved, Recorded, back_in_shape
from vitdecomp.trace.pool_weights import asked, joined, laned, one_place, placed, viewed
from vitdecomp.trace.pooling import Pool, Shape
from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.rules.attention import rows_of

SHAPING = {viewed, joined, laned, one_place, placed, torch.permute, torch.roll, torch.narrow, operator.mul}


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
    possible = _possible(pool.weights, recorded).movedim(axis, 0).flatten(1).any(1)
    counts = possible.nonzero().flatten().tolist()
    if not counts or counts[-1] - counts[0] + 1 == len(possible):
        return pool.weights, pattern, sizes
    start, length = counts[0], counts[-1] - counts[0] + 1
    some = Gate(torch.narrow, (pool.weights, axis, start, length))
    return some, Gate(rows_of, (pattern, start, length)), (*sizes[:query], length)


def _possible(weights: Gate, recorded: Recorded) -> Tensor:
    """Weights as they would be if all that the model computes were one: zero where no image gives them a value."""
    found: Tensor = weights.fn(*_arguments(weights.args, recorded)) if weights.fn in SHAPING else recorded[weights]
    return found if weights.fn in SHAPING else torch.ones_like(found)


def _arguments(args: Sequence[Any], recorded: Recorded) -> list[Any]:
    return [
        _possible(a, recorded) if isinstance(a, Gate) and isinstance(recorded[a], Tensor) else resolve(a, recorded)
        for a in args
    ]
