"""Steps that act on each element alone: products with gates, masks, signs, number formats."""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from typing import Any

from torch import Tensor

from vitdecomp.trace.linear_graph import resolve, run_step
from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.rules.arithmetic import cast
from vitdecomp.trace.rules.merge import drop, keep
from vitdecomp.trace.steps.slices import Slice, SlicedStep, cut_gate
from vitdecomp.trace.steps.step import LinearStep, Recorded, Shape, register_step
from vitdecomp.trace.steps.sums.weighted_sum import SummedStep, WeightedSum
from vitdecomp.trace.steps.sums.weights import viewed


@register_step(operator.neg, cast)
class Pointwise(LinearStep):
    """Every element alone and all alike."""

    pointwise = True

    def stacked(self, step: Step, x: Tensor, recorded: Recorded) -> Tensor:
        """Leading axes broadcast."""
        return run_step(step, x, recorded)

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Take the same slice of the input."""
        return SlicedStep(wanted, step)

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Take the same sum over the input."""
        return SummedStep(wanted, step)


@register_step(keep, drop)
class Mask(Pointwise):
    """Some elements alone, by a gate that is broadcast against them."""

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Take the same slice of the input and of the gate."""
        if before != after:
            return None
        args = tuple(Gate(cut_gate, (a, len(after), *wanted)) for a in step.args)
        return SlicedStep(wanted, replace(step, args=args))

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Keep a sum behind a mask."""
        return None


@register_step(operator.mul, operator.truediv)
class Scale(Mask):
    """A product with a gate, or a quotient."""

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Keep a gate that is the same for all that is added up behind the sum; another one joins the weights."""
        gate = step.args[0]
        size = size_of(gate, recorded)
        if before != after or len(step.args) > 1 or len(size) > len(after):
            return None
        size = (1,) * (len(after) - len(size)) + size
        varying = {i for axis, numbers in enumerate(wanted.numbered) for i in numbers if size[axis] > 1}
        if not varying:
            number = not isinstance(resolve(gate, recorded), Tensor)
            return SummedStep(wanted, step if number else replace(step, args=(Gate(viewed, (gate, ())),)))
        shape = tuple(v if i in varying else 1 for i, v in enumerate(wanted.view))
        if not varying & wanted.summed:
            kept = Gate(viewed, (gate, tuple(shape[i] for i in wanted.kept)))
            return SummedStep(wanted, replace(step, args=(kept,)))
        own = wanted.weighted(recorded)
        whole = not any(n > 1 and i not in own | varying | wanted.summed for i, n in enumerate(wanted.factors))
        if whole and math.prod(wanted.sums) > 1:
            return None  # the weights would be larger than the value
        weights = Gate(step.fn, (wanted.weights, Gate(viewed, (gate, shape))))
        return SummedStep(replace(wanted, weights=weights), None)


def size_of(gate: Any, recorded: Recorded) -> tuple[int, ...]:
    """Return the shape of a gate on the trial batch; `()` of a number."""
    value = resolve(gate, recorded)
    return tuple(value.shape) if isinstance(value, Tensor) else ()
