"""Merged branches: parallel branches that mix no channels become one depthwise convolution.

A block such as `x + scale * (conv(x) - norm(x))`, with depthwise convolutions and batch norms, is one depthwise
convolution of x and constants. Each constant inside takes its scale at once, and joins the sum directly. (Convolutions
one behind the other do not merge: what the first pads with zeros is not what the second pads.)
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdecomp.trace.linear_graph import CONSTANT, Apply, Leaf, LinearGraph, Shape, Sum, Value, resolve
from vitdecomp.trace.rule import Gate, Step, depends_on_input
from vitdecomp.trace.rules.parametric import convolve

aten = torch.ops.aten
PLAIN = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
SCALES = (operator.mul, operator.truediv, operator.neg)


class Branch(NamedTuple):
    """A path without side paths from a value to a sum: scales, and at most one convolution."""

    start: int
    steps: tuple[Step, ...] = ()

    @property
    def convolution(self) -> Step | None:
        """The convolution among the steps."""
        return next((step for step in self.steps if step.fn is convolve), None)

    def then(self, step: Step) -> Branch:
        """Append a step."""
        return Branch(self.start, (*self.steps, step))


@dataclass(frozen=True, slots=True)
class Merged:
    """A linear graph with merged branches.

    Attributes:
        graph: the graph.
        leaves: the leaves of the graph before, and where they are now.
    """

    graph: LinearGraph
    leaves: Mapping[int, int]


def merge_branches(graph: LinearGraph, recorded: Mapping[Gate, Any]) -> Merged:
    """Merge parallel branches; the linear map stays the same.

    Args:
        graph: the linear map, with shapes.
        recorded: gates of the trial batch.
    """
    rewrite = _Rewrite(graph, recorded)
    for i, value in enumerate(graph.values):
        rewrite.write(i, value)
    written = LinearGraph(tuple(rewrite.values), tuple(rewrite.shapes))
    kept = written.pruned()
    moved = dict(zip(sorted(rewrite.place[i] for i in graph.leaves), kept.leaves, strict=True))
    return Merged(kept, {i: moved[rewrite.place[i]] for i in graph.leaves})


class _Rewrite:
    """The graph as it is written anew."""

    def __init__(self, graph: LinearGraph, recorded: Mapping[Gate, Any]) -> None:
        self.graph, self.recorded, self.users = graph, recorded, graph.users()
        self.values: list[Value] = []
        self.shapes: list[Shape] = []
        self.place: dict[int, int] = {}

    def write(self, i: int, value: Value) -> None:
        match value:
            case Leaf():
                self.place[i] = self._put(value, i)
            case Apply():
                self.place[i] = self._put(replace(value, input=self.place[value.input]), i)
            case Sum():
                groups = self._groups(value)
                if self._is_block(groups):
                    ends = tuple(end for branches in groups.values() for end in self._ends(branches, i, value))
                else:
                    ends = tuple(self.place[j] for j in value.inputs)
                self.place[i] = ends[0] if len(ends) == 1 else self._put(replace(value, inputs=ends), i)

    def _groups(self, value: Sum) -> dict[int, list[Branch]]:
        """Collect the branches of a sum by where they begin."""
        groups: dict[int, list[Branch]] = {}
        for branch in (found for j in value.inputs for found in self._branches(j)):
            groups.setdefault(branch.start, []).append(branch)
        return groups

    def _is_block(self, groups: Mapping[int, Sequence[Branch]]) -> bool:
        """Check whether all branches but constants begin at one value, and convolve.

        Then constants inside join a sum that the same components reach as before.
        """
        moving = [branches for start, branches in groups.items() if not self._is_constant(start)]
        return len(moving) == 1 and any(branch.convolution for branch in moving[0])

    def _is_constant(self, at: int) -> bool:
        value = self.graph.values[at]
        return isinstance(value, Leaf) and value.kind == CONSTANT

    def _put(self, value: Value, like: int) -> int:
        self.values.append(value)
        self.shapes.append(self.graph.shapes[like])
        return len(self.values) - 1

    def _branches(self, j: int) -> list[Branch]:
        """Return the branches that end in a value, each from as far as it can be followed."""
        value = self.graph.values[j]
        if len(self.users.get(j, ())) == 1:
            if isinstance(value, Sum):
                return [branch for k in value.inputs for branch in self._branches(k)]
            if isinstance(value, Apply) and self._is_scale(value.step, j):
                return [branch.then(value.step) for branch in self._branches(value.input)]
            if isinstance(value, Apply) and is_depthwise(value.step, self.graph.shapes[value.input], self.recorded):
                before = self._branches(value.input)
                if len(before) == 1 and before[0].convolution is None:
                    return [before[0].then(value.step)]
        return [Branch(j)]

    def _is_scale(self, step: Step, at: int) -> bool:
        """Check whether a step scales each channel, by what depends on parameters alone."""
        if step.fn not in SCALES or step.kwargs or len(step.args) > 1 or depends_on_input(step.args):
            return False
        shape, scale = self.graph.shapes[at], resolve(step.args, self.recorded)
        sizes = [size for each in scale if isinstance(each, Tensor) for size in _aligned(each.shape, len(shape))]
        return len(shape) > 2 and (not sizes or len(sizes) == len(shape)) and {*sizes[:1], *sizes[2:]} <= {1}

    def _ends(self, branches: Sequence[Branch], i: int, node: Sum) -> list[int]:
        """Write the branches that begin at one value."""
        start, steps = branches[0]
        leaf = self.graph.values[start]
        if not steps and len(branches) == 1:
            return [self.place[start]]
        if isinstance(leaf, Leaf) and self._is_constant(start) and not branches[0].convolution:
            value = leaf.value
            for step in steps:
                value = Gate(step.fn, (value, *step.args))
            self.place[start] = self._put(replace(leaf, value=value), i)
            return [self.place[start]]
        return [self._put(Apply(self.place[start], self._merged(branches, self.graph.shapes[start]), node.node), i)]

    def _merged(self, branches: Sequence[Branch], shape: Shape) -> Step:
        """Return one convolution for all branches from a value of some shape; one of them convolves at least."""
        axes = len(shape) - 2
        convolutions = [found for branch in branches if (found := branch.convolution)]
        scales = tuple(tuple((s.fn, *s.args) for s in b.steps if s.fn is not convolve) for b in branches)
        kernels = tuple(None if b.convolution is None else b.convolution.args[0] for b in branches)
        sizes = [resolve(step.args[0], self.recorded).shape[2:] for step in convolutions]
        size = tuple(map(max, zip(*sizes, strict=True)))
        kernel = Gate(summed_kernels, (scales, kernels, (shape[1], 1, *size)))
        settings = ((1,) * axes, tuple(n // 2 for n in size), (1,) * axes, shape[1])
        return Step(convolve, (kernel, convolutions[0].args[1], settings))


def is_depthwise(step: Step, shape: Shape, recorded: Mapping[Gate, Any]) -> bool:
    """Check whether a step is a depthwise convolution that keeps the size of its input, with a kernel of odd size."""
    if step.fn is not convolve or depends_on_input(step.args[0]) or step.args[1] not in PLAIN:
        return False
    weight, (stride, padding, dilation, groups) = resolve(step.args[0], recorded), step.args[2]
    size = tuple(weight.shape[2:])
    odd = all(n % 2 for n in size) and tuple(padding) == tuple(n // 2 for n in size)
    alone = tuple(weight.shape[:2]) == (shape[1], 1) and groups == shape[1]
    return odd and alone and {*stride, *dilation} == {1} and len(shape) == weight.ndim


def summed_kernels(branches: Sequence[Sequence[tuple[Any, ...]]], kernels: Sequence[Any], shape: Shape) -> Tensor:
    """Return the kernel of a sum of branches, of some shape.

    Args:
        branches: for each the scales on it, each a function and what it is called with beside the value.
        kernels: of the convolution on each branch, `None` where there is none.
        shape: `(channel, 1, *size)`.
    """
    like: Tensor = next(kernel for kernel in kernels if kernel is not None)
    total = like.new_zeros(shape)
    for scales, kernel in zip(branches, kernels, strict=True):
        own = like.new_ones((1,) * len(shape)) if kernel is None else kernel
        margins = [n for a, b in zip(shape[:1:-1], own.shape[:1:-1], strict=True) for n in 2 * [(a - b) // 2]]
        scale = _scale(scales, len(shape) - 1)
        total = total + F.pad((own * scale).expand(shape[0], -1, *(-1 for _ in shape[2:])), margins)
    return total


def _scale(scales: Sequence[tuple[Any, ...]], axes: int) -> Any:
    """Multiply the scales of one branch, as `(channel, 1, ...)` with so many axes behind, or a number."""
    found: Any = 1.0
    for fn, *arguments in scales:
        found = fn(found, *(_by_channel(each, axes) for each in arguments))
    return found


def _by_channel(scale: Any, axes: int) -> Any:
    return scale.reshape(-1, *(1,) * axes) if isinstance(scale, Tensor) else scale


def _aligned(shape: Shape, axes: int) -> Shape:
    """Fill a shape up with ones in front, as broadcasting does."""
    return (1,) * (axes - len(shape)) + tuple(shape)
