"""Steps that keep every element: other shapes, other orders of axes, repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vitdecomp.trace.linear_graph import resolve
from vitdecomp.trace.rule import Gate, Step, broadcast
from vitdecomp.trace.rules.attention import append_axes
from vitdecomp.trace.steps.slices import Slice, SlicedStep, resized
from vitdecomp.trace.steps.step import LinearStep, Recorded, Shape, register_step
from vitdecomp.trace.steps.sums.regroup import regrouped, settled
from vitdecomp.trace.steps.sums.weighted_sum import SummedStep, WeightedSum, refined


@register_step(torch.select, torch.transpose, torch.unflatten, append_axes)
class Move(LinearStep):
    """Elements are only moved, left out or repeated."""

    moves = True


@register_step(torch.flatten, torch.unsqueeze)
class Regroup(Move):
    """View in another shape, the elements in the same order."""

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Other factors; those that are kept among summed ones of the same axis become several sums."""
        return regrouped_sum(wanted, before, recorded)


@register_step(torch.reshape)
class Reshape(Regroup):
    """The same, with the shape as its argument."""

    def stacked(self, step: Step, x: Tensor, recorded: Recorded) -> Tensor:
        """Take one more axis in front."""
        return x.reshape(len(x), *resolve(step.args[0], recorded))

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Slice an axis that is one before, too, or the outermost factor of the channels there."""
        outer = torch.Size(after[: wanted.dim]).numel()
        shape = Gate(resized, (step.args[0], wanted.dim, wanted.length))
        for dim, size in enumerate(before):
            if size == after[wanted.dim] and torch.Size(before[:dim]).numel() == outer:
                return SlicedStep(wanted._replace(dim=dim), replace(step, args=(shape,)))
        channels = len(before) - 1
        if channels > 0 and torch.Size(before[:channels]).numel() == outer:
            each = before[channels] // after[wanted.dim]
            return SlicedStep(Slice(channels, wanted.start * each, wanted.length * each), replace(step, args=(shape,)))
        return None


@register_step(torch.permute)
class Permute(Move):
    """Permute the axes."""

    def stacked(self, step: Step, x: Tensor, recorded: Recorded) -> Tensor:
        """Take one more axis in front."""
        return x.permute(0, *(axis + 1 for axis in step.args[0]))

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Slice the axis where it was."""
        return SlicedStep(wanted._replace(dim=step.args[0][wanted.dim]), step)

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Put the factors into the order before."""
        source = {axis: place for place, axis in enumerate(step.args[0])}
        order = [i for axis in range(len(before)) for i in wanted.numbered[source[axis]]]
        place = {i: k for k, i in enumerate(order)}
        found = WeightedSum(
            tuple(wanted.groups[source[axis]] for axis in range(len(before))),
            place[wanted.image],
            frozenset(place[i] for i in wanted.summed),
            wanted.sums,
            Gate(torch.permute, (wanted.weights, _behind_sums(wanted, order))),
        )
        back = [found.kept.index(place[i]) for i in wanted.kept]
        same = back == sorted(back)
        return SummedStep(found, None if same else Step(torch.permute, (_behind_sums(wanted, back),)))


@register_step(broadcast)
class Broadcast(Move):
    """Repeat along axes of size one, without a copy."""

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Slice the axis if it is there before, else take all that there is."""
        axis = wanted.dim - len(after)
        shape = Gate(resized, (step.args[0], wanted.dim, wanted.length))
        there = len(before) >= -axis and before[axis] != 1
        return SlicedStep(wanted._replace(dim=len(before) + axis) if there else None, replace(step, args=(shape,)))


def regrouped_sum(wanted: WeightedSum, before: Shape, recorded: Recorded) -> SummedStep | None:
    """Move a sum before a step that changes the shape alone."""
    found = refined(wanted, tuple(before))
    if found is None:
        return None
    groups, parents = found
    weights = regrouped(wanted, groups, parents, recorded)
    chosen = frozenset(i for i, parent in enumerate(parents) if parent in wanted.summed)
    return settled(WeightedSum(groups, parents.index(wanted.image), chosen, wanted.sums, weights), wanted, recorded)


def _behind_sums(wanted: WeightedSum, order: Sequence[int]) -> tuple[int, ...]:
    """Return an order of axes behind the several sums as one of all axes."""
    sums = len(wanted.sums)
    return (*range(sums), *(sums + i for i in order))
