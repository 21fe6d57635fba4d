"""Constants whose elements belong to the inputs of a batch in several orders, split into parts with one order each.

TimeSformer repeats position embeddings for each frame of each video, row `video * frames + frame`, and then takes the
class tokens of the first rows alone, row `video`. No factors of the rows fit both. Split by token, each part has its
own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vitdecomp.trace.axes.layout import image_factor
from vitdecomp.trace.linear_graph import CONSTANT, Apply, Leaf, LinearGraph, Shape, Sum, Value
from vitdecomp.trace.rule import Gate


def split_constants(
    graph: LinearGraph, reach: Mapping[int, Tensor], images: int
) -> tuple[LinearGraph, dict[int, Tensor]]:
    """Split the constants of a linear graph that have no one order of inputs.

    Args:
        graph: the linear graph.
        reach: for each leaf, which elements reach the second input's representation.
        images: how many inputs the trial batch has.

    Returns:
        The graph, and the same for its leaves; those that are given where nothing is split.
    """
    parts = {
        i: found for i, leaf in graph.leaves.items() if leaf.kind == CONSTANT and (found := _parts(reach[i], images))
    }
    if not parts:
        return graph, dict(reach)
    values, shapes, known, place = list[Value](), list[Shape](), dict[int, Tensor](), dict[int, int]()
    for i, value in enumerate(graph.values):
        split = _split(value, parts[i]) if isinstance(value, Leaf) and i in parts else [_moved(value, place)]
        for each in split:
            if isinstance(each, Leaf):
                known[len(values)] = reach[i]
            values.append(each)
        if len(split) > 1:
            first = len(values) - len(split)
            known |= {first + k: _mask(reach[i], *part) for k, part in enumerate(parts[i])}
            values.append(Sum(tuple(range(first, len(values))), split[0].node))
        shapes += [graph.shapes[i]] * (len(values) - len(shapes)) if graph.shapes else []
        place[i] = len(values) - 1
    return LinearGraph(tuple(values), tuple(shapes)), known


def only(x: Tensor, axis: int, places: Sequence[int]) -> Tensor:
    """Keep some places along an axis, with zeros at all others."""
    kept = torch.zeros(x.shape[axis], dtype=torch.bool, device=x.device)
    kept[list(places)] = True
    return torch.where(kept.reshape(-1, *(1,) * (x.ndim - 1 - axis)), x, torch.zeros_like(x))


def _mask(reach: Tensor, axis: int, places: Sequence[int]) -> Tensor:
    return only(reach, axis, places)


def _split(leaf: Leaf, parts: Sequence[tuple[int, tuple[int, ...]]]) -> list[Value]:
    return [Leaf(leaf.node, Gate(only, (leaf.value, *part)), leaf.kind, leaf.origin, leaf.label) for part in parts]


def _moved(value: Value, place: Mapping[int, int]) -> Value:
    match value:
        case Apply():
            return Apply(place[value.input], value.step, value.node)
        case Sum():
            return Sum(tuple(place[j] for j in value.inputs), value.node)
        case _:
            return value


def _parts(reach: Tensor, images: int) -> list[tuple[int, tuple[int, ...]]]:
    """Find an axis, and the places along it that have one order each; none where all have one, or nothing helps."""
    if not bool(reach.any()) or image_factor(reach.shape, reach, images) is not None:
        return []
    for axis in range(1, reach.ndim):
        orders: dict[tuple[int, int] | None, list[int]] = {}
        for place in reach.movedim(axis, 0).flatten(1).any(1).nonzero()[:, 0].tolist():
            orders.setdefault(image_factor(reach.shape, only(reach, axis, [place]), images), []).append(place)
        if None not in orders:
            return [(axis, tuple(places)) for places in orders.values()]
    return []
