"""Sink selections: take the class token before the linear maps instead of after them.

Linear maps that act on each token alike commute with choosing some tokens. So a `narrow` moves from the
output towards the leaves as far as it goes. What it meets on its way shrinks to the tokens that count, and
what lies outside them (the patch branch of a class-token model, say) contributes nothing at all, and goes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdecomp.trace.linear_graph import Apply, Leaf, LinearGraph, Sum, Value, inputs
from vitdecomp.trace.rule import Gate, Step, broadcast
from vitdecomp.trace.rules.arithmetic import cast
from vitdecomp.trace.rules.attention import rows_of
from vitdecomp.trace.rules.merge import drop, embed, keep
from vitdecomp.trace.rules.parametric import matmul_left

Shape = tuple[int, ...]


class Window(NamedTuple):
    """A range of one axis."""

    dim: int
    start: int
    length: int


class Moved(NamedTuple):
    """A step behind which a window was moved: what is wanted of its input, and the step that is left."""

    window: Window | None
    step: Step | None


NOTHING = Moved(Window(-1, 0, 0), None)
Mover = Callable[[Step, Window, Shape, Shape], "Moved | None"]


def sink(graph: LinearGraph, shapes: dict[int, Shape]) -> LinearGraph:
    """The same linear map with its selections as early as possible, and without leaves that they cut off.

    Args:
        graph: the linear map.
        shapes: the shape of each of its values on some batch; axes that depend on the batch are not cut.
    """
    wanted: dict[int, list[Window | None]] = {len(graph.values) - 1: [None]}
    kept: dict[int, Window | None] = {}
    moved: dict[int, Moved] = {}
    dead: set[int] = set()
    for i in range(len(graph.values) - 1, -1, -1):
        value = graph.values[i]
        requests = wanted.get(i)
        if not requests:
            dead.add(i)
            continue
        kept[i] = requests[0] if all(r == requests[0] for r in requests) else None
        if isinstance(value, Apply):
            moved[i] = _move(value.step, kept[i], shapes[value.input], shapes[i])
            if moved[i] is NOTHING:
                dead.add(i)
                continue
            wanted.setdefault(value.input, []).append(moved[i].window)
        for j in inputs(value) if isinstance(value, Sum) else ():
            wanted.setdefault(j, []).append(kept[i])
    return _Rebuild(graph, kept, moved, dead).run()


def _move(step: Step, window: Window | None, before: Shape, after: Shape) -> Moved:
    if step.fn is torch.narrow and all(isinstance(a, int) for a in step.args):
        return _move_narrow(step, window)
    if window is None:
        return Moved(None, step)
    mover = MOVERS.get(step.fn)
    found = None if mover is None else mover(step, window, before, after)
    return found if found is not None else Moved(None, step)


def _move_narrow(step: Step, window: Window | None) -> Moved:
    own = Window(*step.args)
    if window is None:
        return Moved(own, None)
    if window.dim == own.dim:
        return Moved(Window(own.dim, own.start + window.start, window.length), None)
    return Moved(window, step)


class _Rebuild:
    """Writes the graph anew: every value cut to the window that is kept of it."""

    def __init__(
        self, graph: LinearGraph, kept: dict[int, Window | None], moved: dict[int, Moved], dead: set[int]
    ) -> None:
        self.graph, self.kept, self.moved, self.dead = graph, kept, moved, dead
        self.values: list[Value] = []
        self.at: dict[int, int] = {}

    def run(self) -> LinearGraph:
        for i, value in enumerate(self.graph.values):
            if i not in self.dead and (not inputs(value) or any(j in self.at for j in inputs(value))):
                self.at[i] = self._rebuild(i, value)
        return LinearGraph(tuple(self.values)).pruned()

    def _rebuild(self, i: int, value: Value) -> int:
        window = self.kept[i]
        match value:
            case Leaf():
                cut = value.value if window is None else Gate(cut_to, (value.value, *window))
                return self._put(replace(value, value=cut))
            case Sum():
                return self._put(
                    replace(value, inputs=tuple(self._end(j, window, value) for j in value.inputs if j in self.at))
                )
            case Apply():
                moved = self.moved[i]
                end = self._end(value.input, moved.window, value)
                if moved.step is not None:
                    end = self._put(Apply(end, moved.step, value.node))
                late = window is not None and moved == Moved(None, value.step)
                return self._narrow(end, window, value) if late else end

    def _end(self, i: int, window: Window | None, value: Apply | Sum) -> int:
        """The rebuilt input, cut further if its other users needed more of it."""
        if window is None or self.kept[i] == window:
            return self.at[i]
        return self._narrow(self.at[i], window, value)

    def _narrow(self, i: int, window: Window | None, value: Apply | Sum) -> int:
        return self._put(Apply(i, Step(torch.narrow, tuple(window or ())), value.node))

    def _put(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1


def cut_to(x: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A range of one axis, copied so that the rest can be freed."""
    return x.narrow(dim, start, length).clone()


def cut_gate(gate: Any, rank: int, dim: int, start: int, length: int) -> Any:
    """The same range of a gate that is broadcast against a value of some rank."""
    axis = dim - rank
    if not isinstance(gate, Tensor) or gate.ndim < -axis or gate.shape[axis] == 1:
        return gate
    return gate.narrow(axis, start, length)


def resized(size: Sequence[int], dim: int, length: int) -> tuple[int, ...]:
    """A shape with one axis of another length."""
    return (*size[:dim], length, *size[dim + 1 :])


# --- how a window moves in front of each kind of step ---


def _pointwise(step: Step, window: Window, before: Shape, after: Shape) -> Moved | None:
    if before != after:
        return None
    args = tuple(Gate(cut_gate, (a, len(after), *window)) for a in step.args)
    return Moved(window, replace(step, args=args))


def _unchanged(step: Step, window: Window, before: Shape, after: Shape) -> Moved | None:
    return Moved(window, step)


def _not_last(step: Step, window: Window, before: Shape, after: Shape) -> Moved | None:
    return Moved(window, step) if window.dim < len(after) - 1 and len(before) == len(after) > 2 else None


def _permute(step: Step, window: Window, before: Shape, after: Shape) -> Moved | None:
    return Moved(window._replace(dim=step.args[0][window.dim]), step)


def _reshape(step: Step, window: Window, before: Shape, after: Shape) -> Moved | None:
    outer = torch.Size(after[: window.dim]).numel()
    for dim, size in enumerate(before):
        if size == after[window.dim] and torch.Size(before[:dim]).numel() == outer:
            size_gate = Gate(resized, (step.args[0], window.dim, window.length))
            return Moved(window._replace(dim=dim), replace(step, args=(size_gate,)))
    return None


def _broadcast(step: Step, window: Window, before: Shape, after: Shape) -> Moved | None:
    axis = window.dim - len(after)
    size_gate = Gate(resized, (step.args[0], window.dim, window.length))
    there = len(before) >= -axis and before[axis] != 1
    return Moved(window._replace(dim=len(before) + axis) if there else None, replace(step, args=(size_gate,)))


def _embed(step: Step, window: Window, before: Shape, after: Shape) -> Moved | None:
    dim, start, _ = step.args
    if dim != window.dim:
        return Moved(window, step)
    if not isinstance(start, int):
        return None
    low, high = max(window.start, start), min(window.start + window.length, start + before[dim])
    if low >= high:
        return NOTHING
    left = None if high - low == window.length else Step(embed, (dim, low - window.start, window.length))
    return Moved(Window(dim, low - start, high - low), left)


def _reduce(step: Step, window: Window, before: Shape, after: Shape) -> Moved | None:
    named = dict(step.kwargs)
    axes = [d % len(before) for d in named["dim"]]
    free = list(range(len(before))) if named.get("keepdim") else [d for d in range(len(before)) if d not in axes]
    return None if free[window.dim] in axes else Moved(window._replace(dim=free[window.dim]), step)


def _pattern(step: Step, window: Window, before: Shape, after: Shape) -> Moved | None:
    """Of an attention, what is asked for are some queries; they look at all values."""
    if window.dim != len(after) - 2:
        return None
    return Moved(None, replace(step, args=(Gate(rows_of, (step.args[0], window.start, window.length)),)))


MOVERS: dict[Any, Mover] = {
    operator.mul: _pointwise,
    operator.truediv: _pointwise,
    keep: _pointwise,
    drop: _pointwise,
    operator.neg: _unchanged,
    cast: _unchanged,
    F.linear: _not_last,
    torch.permute: _permute,
    torch.reshape: _reshape,
    broadcast: _broadcast,
    embed: _embed,
    torch.sum: _reduce,
    torch.mean: _reduce,
    matmul_left: _pattern,
}
