"""Constants pushed ahead: what becomes of them before anything depends on the images is computed once, not per batch.

Most rows of a push are constants: every bias and every mean of a norm is one. As long as the steps behind them depend
on parameters alone, so does what they become.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitdecomp.engine.push import push_to
from vitdecomp.trace.linear_graph import CONSTANT, Apply, LinearGraph, Shape
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import depends_on_input

MOST_BYTES = 2**27  # what is kept of a model
TOGETHER = 16  # constants in one push


@dataclass(frozen=True, slots=True)
class Ahead:
    """Constants, pushed to where the next step depends on the images.

    Attributes:
        starts: for each of these constants the values of the graph where it has come, and what it is there for one
            image, `(1, *shape)`.
        axes: for each of these values the axis of its images, that of the rows not counted.
    """

    starts: Mapping[int, Mapping[int, Tensor]]
    axes: Mapping[int, int]

    def start(self, leaf: int, images: int) -> dict[int, Tensor]:
        """Return where a constant begins, and its value there for a batch of so many images."""
        return {at: _repeated(value, 1 + self.axes[at], images) for at, value in self.starts[leaf].items()}


NOTHING = Ahead({}, {})


def push_ahead(paths: LinearPaths) -> Ahead:
    """Push the constants of a model as far as its parameters tell.

    Those that would take too much room there are left out, and those that could not leave their place.
    """
    graph, captured = paths.graph, paths.captured
    images = len(captured.trial)
    if captured.batch is not None or images == 1:
        return NOTHING
    stops = _stops(graph)
    chosen = _chosen(graph, stops, images, captured.trial.element_size())
    if not chosen:
        return NOTHING
    _, recorded = paths.recorder(captured.trial[:1])
    starts: dict[int, dict[int, Tensor]] = {}
    axes: dict[int, int] = {}
    with torch.no_grad():
        for some in _batches(chosen):
            tangents = {leaf: {leaf: recorded[graph.leaves[leaf].value][None]} for leaf in some}
            for at, stack in push_to(graph, recorded, tangents, stops).items():
                axis = _image_axis(stack.values.shape[1:], graph.shapes[at], images)
                for leaf, rows in stack.rows.items():
                    starts.setdefault(leaf, {})[at] = stack.values[rows.start : rows.stop].clone()
                axes[at] = -1 if axis is None else axis
    known = {leaf: found for leaf, found in starts.items() if all(axes[at] >= 0 for at in found)}
    return Ahead(known, {at: axes[at] for found in known.values() for at in found})


def _stops(graph: LinearGraph) -> set[int]:
    """Find the values behind which a step depends on the images, and the last one."""
    found = {len(graph.values) - 1}
    for value in graph.values:
        if isinstance(value, Apply) and depends_on_input((value.step.args, value.step.kwargs)):
            found.add(value.input)
    return found


def _chosen(graph: LinearGraph, stops: Collection[int], images: int, itemsize: int) -> list[int]:
    """Choose constants that come further than their own place, those that take the least room there first."""
    users, sizes = graph.users(), dict[int, int]()
    for i, leaf in graph.leaves.items():
        if leaf.kind == CONSTANT and i not in stops and not depends_on_input(leaf.value):
            ends = [at for at in _behind(users, stops, i) if at in stops]
            sizes[i] = sum(torch.Size(graph.shapes[at]).numel() for at in ends) * itemsize // images
    chosen, room = list[int](), MOST_BYTES
    for i in sorted(sizes, key=sizes.__getitem__):
        room -= sizes[i]
        if room < 0:
            break
        chosen.append(i)
    return sorted(chosen)


def _behind(users: Mapping[int, Sequence[int]], stops: Collection[int], leaf: int) -> set[int]:
    """Collect the values to which a leaf comes, up to those where it stops."""
    found, waiting = {leaf}, [leaf]
    while waiting:
        at = waiting.pop()
        new = {*users.get(at, ())} - found if at not in stops else set()
        found |= new
        waiting += new
    return found


def _batches(leaves: Sequence[int]) -> Iterator[Sequence[int]]:
    return (leaves[i : i + TOGETHER] for i in range(0, len(leaves), TOGETHER))


def _image_axis(one: Shape, several: Shape, images: int) -> int | None:
    """Find the axis that counts images alone, from the shapes for one and for several; `None` if there is none."""
    if len(one) != len(several):
        return None
    differ = [axis for axis, sizes in enumerate(zip(one, several, strict=True)) if sizes[0] != sizes[1]]
    return differ[0] if [(one[a], several[a]) for a in differ] == [(1, images)] else None


def _repeated(value: Tensor, axis: int, images: int) -> Tensor:
    return value.expand([images if i == axis else -1 for i in range(value.ndim)])
