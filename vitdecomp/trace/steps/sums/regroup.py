"""A weighted sum in other factors: regrouped, merged along an axis, or as several sums in place of kept factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch

from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.steps.sums.possible import places
from vitdecomp.trace.steps.sums.weighted_sum import Groups, Shape, SummedStep, WeightedSum
from vitdecomp.trace.steps.sums.weights import as_factors, joined, one_each, viewed

Recorded: TypeAlias = "Mapping[Gate, Any]"
MOST_SUMS = 256  # more sums than this cost more than they save


def settled(found: WeightedSum, wanted: WeightedSum, recorded: Recorded) -> SummedStep:
    """Return a sum in its simplest form, before a step that changes no order, and what is left of that step."""
    return _as_several(found, wanted, recorded) or back_in_shape(_merged(found, recorded), wanted)


def _as_several(found: WeightedSum, wanted: WeightedSum, recorded: Recorded) -> SummedStep | None:
    """Take several sums instead of kept factors that lie between summed ones, and how to put these back in place."""
    kept = {*found.kept} - {found.image}
    axes = [
        numbers for numbers in found.numbered if not found.summed.isdisjoint(numbers) and not kept.isdisjoint(numbers)
    ]
    between = [i for numbers in axes if _adds_up(found, numbers, recorded) for i in numbers if i in kept]
    sums = tuple(found.factors[i] for i in between)
    if not between or math.prod((*found.sums, *sums)) > MOST_SUMS:
        return None
    old = len(found.sums)
    weights = Gate(one_each, (found.weights, old, tuple(between), sums))
    several = replace(found, sums=(*found.sums, *sums), summed=found.summed | {*between}, weights=weights)
    order = [old + between.index(i) if i in between else old + len(between) + several.kept.index(i) for i in found.kept]
    return SummedStep(_merged(several, recorded), Step(as_factors, ((*range(old), *order), wanted.after)))


def _adds_up(found: WeightedSum, numbers: Sequence[int], recorded: Recorded) -> bool:
    """Check whether more than one place is added up along an axis; else what is kept of it lies together."""
    return any(len(places(found, i, recorded)) > 1 for i in numbers if i in found.summed)


def back_in_shape(found: WeightedSum, wanted: WeightedSum) -> SummedStep:
    """Return a sum that is settled, and behind it the shape that was wanted."""
    return SummedStep(found, None if found.after == wanted.after else Step(torch.reshape, (wanted.after,)))


def _merged(found: WeightedSum, recorded: Recorded) -> WeightedSum:
    """Merge neighboring factors that are added up along one axis."""
    groups: list[Shape] = []
    parts: list[list[int]] = []
    for numbers in found.numbered:
        runs: list[list[int]] = []
        for i in numbers:
            if runs and i in found.summed and runs[-1][-1] in found.summed:
                runs[-1].append(i)
            else:
                runs.append([i])
        parts += runs
        groups.append(tuple(math.prod(found.factors[i] for i in run) for run in runs))
    if len(parts) == len(found.factors):
        return found
    own = found.weighted(recorded)
    runs = [run if own & {*run} else [] for run in parts]
    sizes = tuple(found.view[i] if any(i in run for run in runs) else 1 for i in range(len(found.factors)))
    shape = tuple(math.prod(sizes[i] for i in run) for run in parts)
    return WeightedSum(
        tuple(groups),
        next(k for k, run in enumerate(parts) if found.image in run),
        frozenset(k for k, run in enumerate(parts) if run[0] in found.summed),
        found.sums,
        Gate(joined, (found.weights, (*found.sums, *sizes), (*found.sums, *shape))),
    )


def regrouped(wanted: WeightedSum, groups: Groups, parents: Sequence[int | None], recorded: Recorded) -> Gate:
    """Return the weights for other factors; one without a parent is new, and weighted alike."""
    own, sizes = wanted.weighted(recorded), [size for group in groups for size in group]
    shape = tuple(
        (-1 if parent == wanted.image else size) if parent in own else 1
        for size, parent in zip(sizes, parents, strict=True)
    )
    return Gate(viewed, (wanted.weights, (*wanted.sums, *shape)))
