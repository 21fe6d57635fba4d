"""Steps that take a part of an axis, put it among zeros, or shift it."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.rules.merge import embed
from vitdecomp.trace.steps.reduction import before_new_sum
from vitdecomp.trace.steps.shape import Move
from vitdecomp.trace.steps.slices import NOTHING, Slice, SlicedStep
from vitdecomp.trace.steps.step import LinearStep, Recorded, Shape, register_step
from vitdecomp.trace.steps.sums.weighted_sum import SummedStep, WeightedSum
from vitdecomp.trace.steps.sums.weights import one_place, placed, put_at


@register_step(torch.narrow)
class Narrow(Move):
    """A range of an axis."""

    def own_slice(self, step: Step) -> Slice | None:
        """Return the range, if it does not depend on the batch."""
        return Slice(*step.args) if all(isinstance(a, int) for a in step.args) else None

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Take a range of the range; another axis stays."""
        own = self.own_slice(step)
        if own is None:
            return None
        if wanted.dim == own.dim:
            return SlicedStep(Slice(own.dim, own.start + wanted.start, wanted.length), None)
        return SlicedStep(wanted, step)

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Weights that are zero outside the range; a single place is a sum itself."""
        axis, start, length = step.args
        if not isinstance(start, int):
            return None
        if before == after:
            return SummedStep(wanted, None)
        if length == 1:
            behind = sum(len(group) for group in wanted.groups[axis + 1 :])
            places: list[int | None] = [None if a == axis else a for a in range(len(before))]
            new = [(before[axis],) if a == axis else () for a in range(len(before))]
            weight = Gate(one_place, (wanted.weights, start, before[axis], behind))
            return before_new_sum(wanted, places, new, weight, recorded)
        factor = wanted.single(axis)
        if factor is None or factor not in wanted.summed:
            return _along_kept(step, wanted, before, after, recorded)
        weights = Gate(placed, (wanted.weights, len(wanted.sums) + factor, start, length, before[axis]))
        groups = (*wanted.groups[:axis], (before[axis],), *wanted.groups[axis + 1 :])
        return SummedStep(replace(wanted, groups=groups, weights=weights), None)


@register_step(embed)
class Embed(Move):
    """A place in a longer axis, zeros around it."""

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Take what of the slice is not zeros."""
        dim, start, _ = step.args
        if dim != wanted.dim:
            return SlicedStep(wanted, step)
        if not isinstance(start, int):
            return None
        low, high = max(wanted.start, start), min(wanted.start + wanted.length, start + before[dim])
        if low >= high:
            return NOTHING
        rest = None if high - low == wanted.length else Step(embed, (dim, low - wanted.start, wanted.length))
        return SlicedStep(Slice(dim, low - start, high - low), rest)

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Take the weights of the place."""
        axis, start, _ = step.args
        if not isinstance(start, int):
            return None
        found = _range_of(wanted, axis, start, before[axis], recorded)
        return _along_kept(step, wanted, before, after, recorded) if found is None else SummedStep(found, None)


@register_step(F.pad)
class Pad(LinearStep):
    """A frame around some axes."""

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Take the weights of what is inside a frame of zeros."""
        widths, named = step.args[0], dict(step.kwargs)
        if named.get("mode", "constant") != "constant" or any(w < 0 for w in widths):
            return None
        found: WeightedSum | None = wanted
        for axis, start in zip(range(len(after) - 1, -1, -1), widths[::2], strict=False):
            if before[axis] != after[axis] and found is not None:
                found = _range_of(found, axis, start, before[axis], recorded)
        return None if found is None else SummedStep(found, None)


@register_step(torch.roll)
class Roll(Move):
    """A cyclic shift."""

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Shift the weights back."""
        shifts, axes = (a if isinstance(a, tuple) else (a,) for a in (*step.args, ())[:2])
        factors = [wanted.single(axis % len(after)) for axis in axes]
        if not axes or any(factor not in wanted.summed for factor in factors):
            return None
        places = tuple(len(wanted.sums) + factor for factor in factors if factor is not None)
        weights = Gate(torch.roll, (wanted.weights, tuple(-s for s in shifts), places))
        return SummedStep(replace(wanted, weights=weights), None)


def _range_of(wanted: WeightedSum, axis: int, start: int, length: int, recorded: Recorded) -> WeightedSum | None:
    """Sum over what lies in a range of an axis; all else there is zero."""
    factor = wanted.single(axis)
    if factor is None or factor not in wanted.summed:
        return None
    weights = wanted.weights
    if factor in wanted.weighted(recorded):
        weights = Gate(torch.narrow, (weights, len(wanted.sums) + factor, start, length))
    return replace(wanted, groups=(*wanted.groups[:axis], (length,), *wanted.groups[axis + 1 :]), weights=weights)


def _along_kept(step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded) -> SummedStep | None:
    """Keep a range of an axis that is neither added up nor weighted: it is the same before a sum and behind it."""
    axis, *rest = step.args
    factor = wanted.single(axis)
    if factor not in wanted.kept or factor == wanted.image or after[axis] == 1:
        return None
    if factor in wanted.weighted(recorded):
        return None
    found = replace(wanted, groups=(*wanted.groups[:axis], (before[axis],), *wanted.groups[axis + 1 :]))
    place = len(wanted.sums) + wanted.kept.index(factor)
    one = step.fn is embed and before[axis] == 1  # a sum leaves out that axis
    return SummedStep(found, Step(put_at if one else step.fn, (place, *rest)))
