"""One pool in place of several that ask the same value: the lanes of all of them, or all of the value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from vitdecomp.trace.passes.sum_pushdown.pool import Pool
from vitdecomp.trace.passes.sum_pushdown.shapes import LANES, Recorded, regrouped
from vitdecomp.trace.passes.sum_pushdown.weights import part_of, stacked, viewed
from vitdecomp.trace.rule import Gate, Step


def together(pools: Sequence[Pool | None], one: Gate, recorded: Recorded) -> Pool | None:
    """A pool from which each of some pools can be had.

    Args:
        pools: what is asked of a value; `None` is all of it.
        one: weights that are one for each image.
        recorded: gates of the trial batch.

    Returns:
        A pool with the lanes of all. Where these would be more than what they add up, or somebody asks for all, a
        pool over nothing; `None` where the pools see different factors.
    """
    asked = list(dict.fromkeys(pools)) if len(pools) > 1 else list(pools)
    first = asked[0]
    if len(asked) == 1 and (first is None or not first.pooled or _smaller([first])):
        return first
    known = [_in_full(pool, recorded) for pool in asked if pool is not None]
    first, every = known[0], frozenset[int]().union(*(pool.pooled for pool in known))
    if any((pool.groups, pool.image) != (first.groups, first.image) for pool in known):
        return None
    alike = len(known) == len(asked) and all(pool.factors[i] == 1 for pool in known for i in every - pool.pooled)
    if alike and _smaller(known):
        weights = Gate(stacked, (tuple(pool.weights for pool in known), tuple(len(pool.lanes) for pool in known)))
        lanes = sum(math.prod(pool.lanes) for pool in known)
        return replace(first, pooled=every, lanes=(lanes,), weights=weights)
    shape = tuple(-1 if i == first.image else 1 for i in range(len(first.factors)))
    return replace(first, pooled=frozenset(), lanes=(), weights=Gate(viewed, (one, shape)))


def _smaller(pools: Sequence[Pool]) -> bool:
    """Whether there are fewer sums than places that are added up."""
    lanes = sum(math.prod(pool.lanes) for pool in pools)
    return lanes <= LANES and all(lanes < math.prod(pool.factors[i] for i in pool.pooled) for pool in pools)


def _in_full(pool: Pool, recorded: Recorded) -> Pool:
    """The pool with a factor for each axis, of size one where it had none."""
    if all(pool.groups):
        return pool
    groups = tuple(group or (1,) for group in pool.groups)
    parents = [i for numbers in pool.numbered for i in (numbers or (None,))]
    chosen = frozenset(parents.index(i) for i in pool.pooled)
    weights = regrouped(pool, groups, parents, recorded)
    return Pool(groups, parents.index(pool.image), chosen, pool.lanes, weights)


def own_part(kept: Pool | None, pools: Sequence[Pool | None], own: Pool | None) -> Step | None:
    """What is left to do for one of those that asked a value.

    Args:
        kept: the pool that serves all, `None` where the value is as it was.
        pools: what all of them asked, as `together` had it.
        own: what this one asked, `None` for all of the value.
    """
    if kept is None:
        return None if own is None else own.step()
    if own is None:
        sizes = zip(kept.numbered, kept.groups, strict=True)
        return Step(torch.reshape, (tuple(-1 if kept.image in at else math.prod(group) for at, group in sizes),))
    if not kept.pooled:
        return own.step()
    before = list(dict.fromkeys(pools))
    start = sum(math.prod(pool.lanes) for pool in before[: before.index(own)] if pool is not None)
    return Step(part_of, (start, math.prod(own.lanes), own.after))
