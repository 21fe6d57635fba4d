"""A pool for other factors: regrouped, merged along an axis, or with lanes in place of what is kept between."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch

from vitdecomp.trace.passes.sum_pushdown.pool import Groups, Pool, Shape
from vitdecomp.trace.passes.sum_pushdown.possible import places
from vitdecomp.trace.passes.sum_pushdown.weights import joined, laned, unlaned, viewed
from vitdecomp.trace.rule import Gate, Step

Recorded: TypeAlias = "Mapping[Gate, Any]"
Moved: TypeAlias = "tuple[Pool, Step | None]"  # what is asked of the input, and the step that is left behind it
LANES = 256  # more sums than this cost more than they save


def settled(moved: Pool, pool: Pool, recorded: Recorded) -> Moved:
    """A pool in its simplest form, before a step that changes no order, and what is left of that step."""
    return _in_lanes(moved, pool, recorded) or back_in_shape(_merged(moved, recorded), pool)


def _in_lanes(pool: Pool, wanted: Pool, recorded: Recorded) -> Moved | None:
    """The pool with lanes instead of factors that lie between pooled ones, and how to put these back in place."""
    kept = {*pool.left} - {pool.image}
    axes = [
        numbers for numbers in pool.numbered if not pool.pooled.isdisjoint(numbers) and not kept.isdisjoint(numbers)
    ]
    mixed = [i for numbers in axes if _sums(pool, numbers, recorded) for i in numbers if i in kept]
    lanes = tuple(pool.factors[i] for i in mixed)
    if not mixed or math.prod((*pool.lanes, *lanes)) > LANES:
        return None
    old = len(pool.lanes)
    weights = Gate(laned, (pool.weights, old, tuple(mixed), lanes))
    moved = replace(pool, lanes=(*pool.lanes, *lanes), pooled=pool.pooled | {*mixed}, weights=weights)
    new = [old + mixed.index(i) if i in mixed else old + len(mixed) + moved.left.index(i) for i in pool.left]
    return _merged(moved, recorded), Step(unlaned, ((*range(old), *new), wanted.after))


def _sums(pool: Pool, numbers: Sequence[int], recorded: Recorded) -> bool:
    """Whether more than one place is added up along an axis; else what is kept of it lies together."""
    return any(len(places(pool, i, recorded)) > 1 for i in numbers if i in pool.pooled)


def back_in_shape(moved: Pool, pool: Pool) -> Moved:
    """A pool that is settled, and behind it the shape that was asked for."""
    return moved, None if moved.after == pool.after else Step(torch.reshape, (pool.after,))


def _merged(pool: Pool, recorded: Recorded) -> Pool:
    """The pool with neighbours that are added up along one axis as one factor."""
    groups: list[Shape] = []
    parts: list[list[int]] = []
    for numbers in pool.numbered:
        runs: list[list[int]] = []
        for i in numbers:
            if runs and i in pool.pooled and runs[-1][-1] in pool.pooled:
                runs[-1].append(i)
            else:
                runs.append([i])
        parts += runs
        groups.append(tuple(math.prod(pool.factors[i] for i in run) for run in runs))
    if len(parts) == len(pool.factors):
        return pool
    own = pool.weighted(recorded)
    runs = [run if own & {*run} else [] for run in parts]
    sizes = tuple(pool.view[i] if any(i in run for run in runs) else 1 for i in range(len(pool.factors)))
    shape = tuple(math.prod(sizes[i] for i in run) for run in parts)
    return Pool(
        tuple(groups),
        next(k for k, run in enumerate(parts) if pool.image in run),
        frozenset(k for k, run in enumerate(parts) if run[0] in pool.pooled),
        pool.lanes,
        Gate(joined, (pool.weights, (*pool.lanes, *sizes), (*pool.lanes, *shape))),
    )


def regrouped(pool: Pool, groups: Groups, parents: Sequence[int | None], recorded: Recorded) -> Gate:
    """The weights for other factors; one that has no parent is new, and weighted alike."""
    own, sizes = pool.weighted(recorded), [size for group in groups for size in group]
    shape = tuple(
        (-1 if parent == pool.image else size) if parent in own else 1
        for size, parent in zip(sizes, parents, strict=True)
    )
    return Gate(viewed, (pool.weights, (*pool.lanes, *shape)))
