"""Following coordinates: where the elements of a leaf end up among the channels of the next projection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.linear_graph import Apply, Leaf, LinearGraph, inputs, run_step
from vitdecomp.trace.rule import Gate, Step, depends_on_input, linear_terms, module_path, shape, varies
from vitdecomp.trace.search import Search
from vitdecomp.trace.steps import contracted_axis, kind_of


@dataclass(frozen=True, slots=True)
class Coordinates:
    """The coordinates of a leaf's elements where its channels are mixed first.

    Attributes:
        steps: the values between the leaf and there.
        end: the value at which channels are mixed, or the output.
        channels: for every axis of the leaf, its coordinate along the channel axis there, `(axis, channel)`.
        where: the module there, in words.
    """

    steps: tuple[int, ...]
    end: int
    channels: Tensor
    where: str


def follow(graph: LinearGraph, leaf: int, recorded: Mapping[Gate, Any]) -> Coordinates:
    """Follow a leaf's coordinates, on all paths at once, to the first product with a parameter."""
    value = graph.values[leaf]
    assert isinstance(value, Leaf)
    gates = _Wide(recorded)
    fields = {leaf: coordinates(recorded[value.value].shape)}
    for i in range(leaf + 1, len(graph.values)):
        following = graph.values[i]
        here = [fields[j] for j in inputs(following) if j in fields]
        if not here:
            continue
        if isinstance(following, Apply):
            axis = contracted_axis(following.step)
            if axis is not None and not _mixes_by_image(following):
                return Coordinates((*fields, i), i, along_axis(here[0], axis), _place(following.node))
            fields[i] = _advance(following, here[0], gates if axis is None else _Uniform(recorded))
        else:
            fields[i] = sum(here[1:], here[0])
    last = len(graph.values) - 1
    return Coordinates(tuple(fields), last, along_axis(fields[last], -1), "the representation")


def _place(node: fx.Node) -> str:
    return module_path(node) or node.name


def _mixes_by_image(value: Apply) -> bool:
    """Check whether the matrix of a product is a gate of the image (an attention pattern), not a parameter."""
    matrix = value.step.args[0]
    return depends_on_input(matrix) or (isinstance(matrix, str) and _varying_operand(value))


def _varying_operand(value: Apply) -> bool:
    return any(varies(x) for x in value.step.args[2])


def coordinates(shape: Sequence[int]) -> Tensor:
    """Return the coordinate of every element on every axis, and a field of ones, `(axis + 1, *shape)`."""
    grids = torch.meshgrid(*(torch.arange(s, dtype=torch.float64) for s in shape), indexing="ij")
    return torch.stack([*grids, torch.ones(tuple(shape), dtype=torch.float64)])


def _advance(value: Apply, fields: Tensor, recorded: Mapping[Gate, Any]) -> Tensor:
    """Coordinates behind a step; where it mixes elements, their sum, and the sum of the weights as last field."""
    if kind_of(value.step.fn).pointwise:
        return fields
    return torch.stack([run_step(value.step, field, recorded) for field in fields])


class _Wide(dict[Gate, Any]):
    """Gates in float64 on the CPU, converted when they are asked for."""

    def __init__(self, recorded: Mapping[Gate, Any]) -> None:
        super().__init__()
        self.recorded = recorded

    def __missing__(self, gate: Gate) -> Any:
        value = self.recorded[gate]
        if isinstance(value, Tensor):
            value = value.cpu().double() if value.is_floating_point() else value.cpu()
        return value


class _Uniform(_Wide):
    """Attention patterns made uniform: a head's own pattern would pass for a coordinate that varies with heads."""

    def __missing__(self, gate: Gate) -> Any:
        value = super().__missing__(gate)
        return torch.ones_like(value) if isinstance(value, Tensor) and value.is_floating_point() else value


def along_axis(fields: Tensor, axis: int) -> Tensor:
    """Coordinates along an axis, at the place where most of them are known, of those that are known there."""
    axis = axis if axis < 0 else axis - (fields.ndim - 1)
    rows = fields.movedim(axis, -1).flatten(1, -2)
    known = rows[-1] != 0
    place = int(known.sum(-1).argmax())
    there = known[place] if known.any() else torch.ones_like(known[place])
    return (rows[:-1, place, there] / rows[-1, place, there]).nan_to_num().round()


def coordinates_at(origin: fx.Node, node: fx.Node) -> Tensor | None:
    """Coordinates of one node's elements at a later node, through moves and pointwise operations."""
    known: dict[fx.Node, Tensor] = {origin: coordinates(shape(origin))}

    def near(here: fx.Node) -> Iterator[fx.Node]:
        for user in _readers(here):
            if user in known or (user is node and shape(user) != shape(here) and not _moves(user)):
                continue
            fields = _step_fields(user, here, known[here])
            if fields is not None:
                known[user] = fields
                yield user

    return known[node] if node in Search([origin], near) else None


def _readers(node: fx.Node) -> list[fx.Node]:
    """Return the nodes that read a node; for one with several outputs, the nodes of these outputs."""
    single = [u for u in node.users if "trial_shape" in u.meta]
    return single + [part for u in node.users if u not in single for part in u.users]


def _moves(node: fx.Node) -> bool:
    return bool(linear_terms(node))


def _step_fields(user: fx.Node, here: fx.Node, fields: Tensor) -> Tensor | None:
    """Follow one operation; one that is no known move keeps elements where they are if it keeps the shape."""
    alike = fields if shape(user) == shape(here) and shape(user) else None
    try:
        terms = [t for t in linear_terms(user) or () if t.operand is here]
        if len(terms) != 1:
            return alike
        for step in terms[0].steps:
            if contracted_axis(step) is not None:
                return None
            fields = moved(fields, step, user)
    except LookupError:
        return alike
    return fields


def moved(fields: Tensor, step: Step, node: fx.Node) -> Tensor:
    """Coordinates behind a step that only moves elements, or takes some of them.

    Raises:
        LookupError: the step needs more than sizes.
    """
    return _advance(Apply(0, step, node), fields, _Shapes())


class _Shapes(dict[Gate, Any]):
    """Stands in for recorded gates: sizes of the trial batch are all that a move needs."""

    def __missing__(self, gate: Gate) -> Any:
        node = gate.args[0]
        if gate.fn.__name__ != "shape_of" or not isinstance(node, fx.Node):
            raise LookupError(str(gate))
        return shape(node)
