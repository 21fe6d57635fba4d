"""Products with matrices: projections, convolutions, attention patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdecomp.trace.linear_graph import resolve, run_step
from vitdecomp.trace.rule import Gate, Step, depends_on_input
from vitdecomp.trace.rules.attention import rows_of
from vitdecomp.trace.rules.parametric import convolve, einsum_at, letters, matmul_left, summed_letters
from vitdecomp.trace.steps.places import Map, NoPlace, even, mean_over, middle
from vitdecomp.trace.steps.scaling import size_of
from vitdecomp.trace.steps.slices import Slice, SlicedStep, cut_gate
from vitdecomp.trace.steps.step import LinearStep, Recorded, Shape, register_step
from vitdecomp.trace.steps.sums.attention import before_pattern
from vitdecomp.trace.steps.sums.heads import before_product_by_head
from vitdecomp.trace.steps.sums.weighted_sum import SummedStep, WeightedSum
from vitdecomp.trace.steps.sums.weights import before_depthwise, mix

aten = torch.ops.aten


@register_step(F.linear)
class Linear(LinearStep):
    """x W^T."""

    def contracted_axis(self, args: Sequence[Any]) -> int | None:
        """Return the last axis."""
        return -1

    def stacked(self, step: Step, x: Tensor, recorded: Recorded) -> Tensor:
        """Leading axes broadcast."""
        return run_step(step, x, recorded)

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Slice any axis; for some of the channels some rows of the matrix do."""
        if not len(before) == len(after) > 2:
            return None
        if wanted.dim < len(after) - 1:
            return SlicedStep(wanted, step)
        rows = Gate(cut_gate, (step.args[0], 2, 0, wanted.start, wanted.length))
        return SlicedStep(None, replace(step, args=(rows,)))

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Sum over any axis but the channels; over these, head by head."""
        if len(wanted.groups[-1]) > 1:
            return before_product_by_head(step, wanted, before, after, recorded)
        found = _other_channels(wanted, len(after) - 1, before, recorded)
        return None if found is None else SummedStep(found, step)

    def places(self, step: Step, values: Recorded) -> Map | None:
        """Take the mean over the channels."""
        return mean_over(-1, len(resolve(step.args[0], values)))


@register_step(torch.matmul)
class MatMul(LinearStep):
    """x A."""

    def contracted_axis(self, args: Sequence[Any]) -> int | None:
        """Return the last axis."""
        return -1

    def stacked(self, step: Step, x: Tensor, recorded: Recorded) -> Tensor:
        """Take one matrix broadcasts; the leading axes of several matrices are not those of the rows."""
        matrix = resolve(step.args[0], recorded)
        found: Tensor = x @ matrix if matrix.ndim == 2 else torch.vmap(torch.matmul, (0, None))(x, matrix)
        return found

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """As with `F.linear`, for one matrix, which lies there the other way round."""
        if len(size_of(step.args[0], recorded)) != 2:
            return None
        turned = Step(F.linear, (Gate(torch.t, (step.args[0],)),))
        return LINEAR.summed(turned, wanted, before, after, recorded)

    def places(self, step: Step, values: Recorded) -> Map | None:
        """Multiply with ones where the matrix is not zero."""
        other = even(resolve(step.args[0], values))
        return lambda x: torch.matmul(x, other)


@register_step(matmul_left)
class PatternTimes(LinearStep):
    """A x, as an attention's pattern is multiplied with its values."""

    def contracted_axis(self, args: Sequence[Any]) -> int | None:
        """Return the last axis but one."""
        return -2

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Let some queries read all values."""
        if wanted.dim != len(after) - 2:
            return None
        rows = Gate(rows_of, (step.args[0], wanted.start, wanted.length))
        return SlicedStep(None, replace(step, args=(rows,)))

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Turn a sum over queries into a sum over keys."""
        return before_pattern(step, wanted, before, after, recorded)

    def places(self, step: Step, values: Recorded) -> Map | None:
        """Multiply with ones where the matrix is not zero."""
        other = even(resolve(step.args[0], values))
        return lambda x: torch.matmul(other, x)


@register_step(einsum_at)
class Einsum(LinearStep):
    """An einsum of one operand that varies."""

    def contracted_axis(self, args: Sequence[Any]) -> int | None:
        """Return the axis of the last letter that is summed with another operand."""
        equation, place = args[:2]
        inputs, output = letters(equation)
        own: str = inputs[place]
        summed = summed_letters(inputs, output, place)
        if not summed:
            return None
        before, _, behind = own.rpartition("...")
        return before.index(summed[-1]) if summed[-1] in before else behind.index(summed[-1]) - len(behind)

    def places(self, step: Step, values: Recorded) -> Map | None:
        """Take the same einsum with ones where the other operands are not zero."""
        equation, place, others = step.args
        known = [even(resolve(other, values)) for other in others]
        return lambda x: einsum_at(x, equation, place, known)


TRANSPOSED = (aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)


@register_step(convolve)
class Convolution(LinearStep):
    """A convolution without its bias."""

    def contracted_axis(self, args: Sequence[Any]) -> int | None:
        """Return the channels of an image."""
        return 1

    def stacked(self, step: Step, x: Tensor, recorded: Recorded) -> Tensor:
        """Make one batch of rows and images."""
        weight, fn, settings = step.args
        if x.ndim != resolve(weight, recorded).ndim + 1:  # no batch
            return super().stacked(step, x, recorded)
        images = x.flatten(0, 1)
        depthwise = fn is aten.conv2d.default and settings[-1] > 1
        found = run_step(step, _channels_last(images) if depthwise else images, recorded)
        return torch.unflatten(found, 0, x.shape[:2])

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Sum in front of a 1 x 1 convolution, which takes every pixel alike, and of a depthwise one, by channel."""
        weight, fn, settings = step.args
        if fn is not aten.conv2d.default:
            return None
        size, (stride, padding, dilation, groups) = size_of(weight, recorded), settings
        if size[:2] == (groups, 1) and groups == before[1] and not depends_on_input(weight):
            return _in_front_of_depthwise(wanted, weight, (stride, padding, dilation), before)
        if {*size[2:], *stride, groups} != {1} or any(padding):
            return None
        found = _other_channels(wanted, 1, before, recorded)
        axis = len(wanted.sums) + wanted.kept.index(wanted.numbered[1][0]) if found else 0
        return None if found is None else SummedStep(found, Step(mix, (weight, axis)))

    def places(self, step: Step, values: Recorded) -> Map | None:
        """Take the middle of the window, of all channels alike."""
        weight, fn, settings = resolve(step.args[0], values), step.args[1], [*resolve(step.args[2], values)]
        packet = fn.overloadpacket
        place = 5 if packet is aten.convolution else 3  # of the number of groups
        transposed = settings[3] if packet is aten.convolution else packet in TRANSPOSED
        channels = weight.shape[1] * settings[place] if transposed else len(weight)
        settings[place] = 1
        kernel = torch.ones_like(middle(weight.shape[2:])) if transposed else middle(weight.shape[2:])

        def run(x: Tensor) -> Tensor:
            if x.ndim != weight.ndim:
                raise NoPlace("a convolution without a batch")
            found: Tensor = fn(x.mean(1, keepdim=True), kernel, None, *settings)
            return found.expand(-1, channels, *(-1 for _ in found.shape[2:]))

        return run


@register_step(mix)
class Mix(LinearStep):
    """A 1 x 1 convolution behind a sum."""

    def stacked(self, step: Step, x: Tensor, recorded: Recorded) -> Tensor:
        """Run the step along the next axis."""
        weight, axis = step.args
        return mix(x, resolve(weight, recorded), axis + 1)


LINEAR = Linear()


def _other_channels(wanted: WeightedSum, axis: int, before: Shape, recorded: Recorded) -> WeightedSum | None:
    """Move the sum before a product along one axis, which must not be summed or weighted itself."""
    factor = wanted.single(axis)
    if factor not in wanted.kept or factor == wanted.image or before[axis] == 1:
        return None
    if factor in wanted.weighted(recorded):
        return None
    return replace(wanted, groups=(*wanted.groups[:axis], (before[axis],), *wanted.groups[axis + 1 :]))


def _in_front_of_depthwise(wanted: WeightedSum, weight: Gate, settings: Any, before: Shape) -> SummedStep | None:
    """Sum over all pixels in front of a depthwise convolution, with weights for each channel and pixel."""
    alone = wanted.groups == tuple((size,) for size in wanted.factors) and len(wanted.factors) == len(before)
    if not alone or wanted.sums or wanted.image != 0 or wanted.summed != {2, 3}:
        return None
    sizes = (before[1], *wanted.factors[2:]), tuple(before[1:])
    weights = Gate(before_depthwise, (wanted.weights, weight, settings, *sizes))
    groups = (wanted.groups[0], *((size,) for size in before[1:]))
    return SummedStep(replace(wanted, groups=groups, weights=weights), None)


def _channels_last(images: Tensor) -> Tensor:
    """Put channels last in memory, where a processor convolves each of them faster (but not in float64)."""
    fast = images.device.type == "cpu" and images.ndim == 4 and images.dtype in (torch.float32, torch.bfloat16)
    return images.contiguous(memory_format=torch.channels_last) if fast else images
