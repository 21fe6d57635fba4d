"""Steps that add up: sums, means, pooling, frozen selections."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitdecomp.trace.linear_graph import resolve
from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.rules.pool import adaptive_winners, pick, pick_along, sample, second, winners
from vitdecomp.trace.steps.places import Map, NoPlace, mean_over_blocks, middle_of_windows
from vitdecomp.trace.steps.shape import regrouped_sum
from vitdecomp.trace.steps.slices import Slice, SlicedStep
from vitdecomp.trace.steps.step import LinearStep, Recorded, Shape, register_step
from vitdecomp.trace.steps.sums.regroup import regrouped, settled
from vitdecomp.trace.steps.sums.weighted_sum import SummedStep, WeightedSum

aten = torch.ops.aten


@register_step(torch.sum, torch.mean)
class Reduce(LinearStep):
    """A sum or mean over some axes."""

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Slice an axis that is kept."""
        named = dict(step.kwargs)
        axes = [d % len(before) for d in named["dim"]]
        free = list(range(len(before))) if named.get("keepdim") else [d for d in range(len(before)) if d not in axes]
        axis = free[wanted.dim]
        return None if axis in axes else SlicedStep(wanted._replace(dim=axis), step)

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Join the weights of the step, which is a weighted sum itself."""
        named = dict(step.kwargs)
        if step.args or named.get("dim") is None:
            return None
        dims = named["dim"] if isinstance(named["dim"], tuple) else (named["dim"],)
        axes = {d % len(before) for d in dims}
        if all(before[a] == 1 for a in axes):  # no sum at all
            return regrouped_sum(wanted, before, recorded)
        rest = iter(range(len(after)))
        left = [None if a in axes and not named.get("keepdim") else next(rest) for a in range(len(before))]
        places = [None if a in axes else place for a, place in enumerate(left)]
        new = [(before[a],) if a in axes else () for a in range(len(before))]
        weight = 1 / math.prod(before[a] for a in axes) if step.fn is torch.mean else 1.0
        return before_new_sum(wanted, places, new, weight, recorded)


def _is_block_mean(settings: Any, blocks: Sequence[int]) -> bool:
    kernel, stride, padding, ceil = settings[:4]
    weighted = len(settings) > 5 and settings[5] is not None
    return tuple(kernel) == blocks == tuple(stride or kernel) and not any(padding) and not ceil and not weighted


def _is_any_mean(settings: Any, blocks: Sequence[int]) -> bool:
    return True


@register_step(sample)
class Sample(LinearStep):
    """Weighted means of neighbors: average pooling and resizing."""

    # Operations that take means of blocks, and whether their settings make the blocks disjoint.
    means: ClassVar[dict[Any, Callable[[Any, Sequence[int]], bool]]] = {
        aten.avg_pool1d.default: _is_block_mean,
        aten.avg_pool2d.default: _is_block_mean,
        aten.avg_pool3d.default: _is_block_mean,
        aten.adaptive_avg_pool1d.default: _is_any_mean,
        aten.adaptive_avg_pool2d.default: _is_any_mean,
        aten.adaptive_avg_pool3d.default: _is_any_mean,
    }
    windows: ClassVar[dict[Any, int]] = {aten.avg_pool1d: 1, aten.avg_pool2d: 2, aten.avg_pool3d: 3}

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Means of blocks that do not overlap."""
        fn, settings = step.args
        disjoint = self.means.get(fn)
        if disjoint is None or len(before) != len(after):
            return None
        if any(b % a for b, a in zip(before[2:], after[2:], strict=True)):
            return None
        blocks = tuple(b // a for b, a in zip(before[2:], after[2:], strict=True))
        if not disjoint(settings, blocks):
            return None
        new = [(), (), *((block,) if block > 1 else () for block in blocks)]
        return before_new_sum(wanted, [*range(len(after))], new, 1 / math.prod(blocks), recorded)

    def places(self, step: Step, values: Recorded) -> Map | None:
        """Take the middle of each window; other means of neighbors depend on sizes alone."""
        fn, settings = step.args[0], resolve(step.args[1], values)
        spatial = self.windows.get(fn.overloadpacket)
        if spatial is None:
            return lambda x: sample(x, fn, settings)
        kernel, stride, padding, ceil = settings[:4]
        return middle_of_windows(kernel, stride, padding, 1, ceil, spatial)


@register_step(pick)
class Pick(LinearStep):
    """The largest of each window."""

    def places(self, step: Step, values: Recorded) -> Map | None:
        """Take the middle of each window."""
        gate, spatial = step.args
        if gate.fn is adaptive_winners:
            return mean_over_blocks(spatial, gate.args[2])
        if gate.fn is not winners:
            raise NoPlace("a selection")
        kernel, stride, padding, dilation, ceil = gate.args[2:]
        return middle_of_windows(kernel, stride, padding, dilation, ceil, spatial)


@register_step(pick_along)
class PickAlong(LinearStep):
    """One element along an axis."""

    def places(self, step: Step, values: Recorded) -> Map | None:
        """Take the mean along the axis."""
        indices, axis = step.args
        if not isinstance(indices, Gate) or indices.fn is second:
            raise NoPlace("an order that the image decides")

        def run(x: Tensor) -> Tensor:
            return x.mean(axis, keepdim=True)

        return run


def before_new_sum(
    wanted: WeightedSum,
    places: Sequence[int | None],
    new: Sequence[tuple[int, ...]],
    weight: float | Gate,
    recorded: Recorded,
) -> SummedStep | None:
    """Move the sum before a step that adds up: for each axis the one that it becomes, and the factors that go."""
    own: list[Sequence[int]] = [() if place is None else wanted.numbered[place] for place in places]
    parents = [parent for a, extra in enumerate(new) for parent in (*own[a], *(None for _ in extra))]
    if wanted.image not in parents:
        return None
    groups = tuple((*(wanted.factors[i] for i in own[a]), *extra) for a, extra in enumerate(new))
    weights = Gate(operator.mul, (regrouped(wanted, groups, parents, recorded), weight))
    chosen = frozenset(i for i, parent in enumerate(parents) if parent is None or parent in wanted.summed)
    found = WeightedSum(groups, parents.index(wanted.image), chosen, wanted.sums, weights)
    return settled(found, wanted, recorded)
