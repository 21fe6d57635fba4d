"""One weighted sum in place of several that are wanted of the same value: all of their sums, or all of the value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.steps.sums.regroup import MOST_SUMS, Recorded, regrouped
from vitdecomp.trace.steps.sums.weighted_sum import WeightedSum
from vitdecomp.trace.steps.sums.weights import part_of, stacked, viewed


def together(wanted: Sequence[WeightedSum | None], one: Gate, recorded: Recorded) -> WeightedSum | None:
    """Combine several requests into one that serves them all.

    Args:
        wanted: what is wanted of a value; `None` is all of it.
        one: weights that are one for each image.
        recorded: gates of the trial batch.

    Returns:
        The sums of all. Where these would be more than what they add up, or one request is for all of the value, a
        sum over nothing; `None` where the requests see different factors.
    """
    requests = list(dict.fromkeys(wanted)) if len(wanted) > 1 else list(wanted)
    first = requests[0]
    if len(requests) == 1 and (first is None or not first.summed or _smaller([first])):
        return first
    known = [_in_full(request, recorded) for request in requests if request is not None]
    first, every = known[0], frozenset[int]().union(*(request.summed for request in known))
    if any((request.groups, request.image) != (first.groups, first.image) for request in known):
        return None
    alike = len(known) == len(requests) and all(r.factors[i] == 1 for r in known for i in every - r.summed)
    if alike and _smaller(known):
        weights = Gate(stacked, (tuple(r.weights for r in known), tuple(len(r.sums) for r in known)))
        sums = sum(math.prod(r.sums) for r in known)
        return replace(first, summed=every, sums=(sums,), weights=weights)
    shape = tuple(-1 if i == first.image else 1 for i in range(len(first.factors)))
    return replace(first, summed=frozenset(), sums=(), weights=Gate(viewed, (one, shape)))


def _smaller(requests: Sequence[WeightedSum]) -> bool:
    """Check whether there are fewer sums than places that are added up."""
    sums = sum(math.prod(request.sums) for request in requests)
    return sums <= MOST_SUMS and all(sums < math.prod(r.factors[i] for i in r.summed) for r in requests)


def _in_full(request: WeightedSum, recorded: Recorded) -> WeightedSum:
    """Give the request a factor for each axis, of size one where it had none."""
    if all(request.groups):
        return request
    groups = tuple(group or (1,) for group in request.groups)
    parents = [i for numbers in request.numbered for i in (numbers or (None,))]
    chosen = frozenset(parents.index(i) for i in request.summed)
    weights = regrouped(request, groups, parents, recorded)
    return WeightedSum(groups, parents.index(request.image), chosen, request.sums, weights)


def own_part(kept: WeightedSum | None, wanted: Sequence[WeightedSum | None], own: WeightedSum | None) -> Step | None:
    """Return what is left to do for one of several requests.

    Args:
        kept: the sum that serves all, `None` where the value is as it was.
        wanted: all requests, as `together` had them.
        own: this request, `None` for all of the value.
    """
    if kept is None:
        return None if own is None else own.step()
    if own is None:
        sizes = zip(kept.numbered, kept.groups, strict=True)
        return Step(torch.reshape, (tuple(-1 if kept.image in at else math.prod(group) for at, group in sizes),))
    if not kept.summed:
        return own.step()
    before = list(dict.fromkeys(wanted))
    start = sum(math.prod(request.sums) for request in before[: before.index(own)] if request is not None)
    return Step(part_of, (start, math.prod(own.sums), own.after))
