"""Folded projections: record what a module adds instead of what its last projection is given.

Where single channels are not asked for, a path may as well begin behind the first product with a parameter. The model
computes that product anyway, with a bias and what else is constant, which are taken off again: there is nothing to
multiply, and less to keep than the hidden channels of an MLP.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F

from vitdecomp.trace.axes.layout import Axis, Layout
from vitdecomp.trace.leaf_values import without
from vitdecomp.trace.linear_graph import CONSTANT, Apply, Leaf, LinearGraph, Sum
from vitdecomp.trace.rule import Gate, same, shape
from vitdecomp.trace.rules.parametric import convolve
from vitdecomp.trace.steps import kind_of
from vitdecomp.trace.steps.scaling import Scale
from vitdecomp.trace.steps.slices import cut_to


@dataclass(frozen=True, slots=True)
class Folded:
    """A linear graph whose paths begin behind their first product.

    Attributes:
        graph: the graph.
        leaves: the leaves of the graph before, and where they are now.
        layouts: those that changed, by the leaf before.
    """

    graph: LinearGraph
    leaves: Mapping[int, int]
    layouts: Mapping[int, Layout]


def fold_projections(graph: LinearGraph, layouts: Mapping[int, Layout], products: Collection[Any]) -> Folded:
    """Begin paths behind their first product; the linear map stays the same.

    Args:
        graph: the linear map, with shapes.
        layouts: of its leaves.
        products: the steps behind which paths may begin: `F.linear`, `convolve`.
    """
    users = graph.users()
    values = list(graph.values)
    leaves: dict[int, int] = {i: i for i in graph.leaves}
    changed: dict[int, Layout] = {}
    for i, leaf in graph.leaves.items():
        if leaf.kind == CONSTANT or leaf.value.fn not in (same, convolve, cut_to) or layouts[i].count(Axis.HEAD) > 1:
            continue
        cut = leaf.value.args[1:] if leaf.value.fn is cut_to else ()
        end, layout = _behind_product(graph, users, i, layouts[i], products)
        constants = None if layout is None else _with_constants(graph, users, end)
        if layout is None or constants is None:
            continue
        total = Gate(same, (graph.values[users[end][0] if constants else end].node,))
        total = Gate(cut_to, (total, *cut)) if cut else total
        values[end] = replace(leaf, value=Gate(without, (total, *constants)) if constants else total)
        leaves[i], changed[i] = end, layout
    pruned = LinearGraph(tuple(values), graph.shapes).pruned()
    places = dict(zip(sorted(leaves.values()), pruned.leaves, strict=True))
    return Folded(pruned, {i: places[end] for i, end in leaves.items()}, changed)


def _behind_product(
    graph: LinearGraph,
    users: Mapping[int, list[int]],
    at: int,
    layout: Layout,
    products: Collection[Any],
) -> tuple[int, Layout | None]:
    """Find the first product behind a leaf, if nothing but scalings lies before it, and the layout there."""
    leaf = graph.values[at]
    if isinstance(leaf, Leaf) and leaf.value.fn is convolve:  # the image's path begins behind its product already
        return at, layout
    while len(users.get(at, ())) == 1:
        at = users[at][0]
        value = graph.values[at]
        if not isinstance(value, Apply):
            break
        if value.step.fn in products:
            axis = len(layout.factors) - 1 if value.step.fn is F.linear else 1
            whole = shape(value.node)[axis] == graph.shapes[at][axis]
            return at, _projected(layout, axis, graph.shapes[at]) if whole else None
        if not isinstance(kind_of(value.step.fn), Scale):
            break
    return at, None


def _projected(layout: Layout, axis: int, size: Sequence[int]) -> Layout | None:
    """Return a layout with other channels, and other tokens where there are more or fewer."""
    if len(size) != len(layout.factors) or any(label != Axis.CHANNEL for label, _ in layout.factors[axis]):
        return None
    factors = []
    for a, known in enumerate(layout.factors):
        tokens = bool(known) and all(label == Axis.TOKEN for label, _ in known)
        factors.append(((Axis.CHANNEL, size[a]),) if a == axis else ((Axis.TOKEN, size[a]),) if tokens else known)
    return Layout(tuple(factors))


def _with_constants(graph: LinearGraph, users: Mapping[int, list[int]], at: int) -> tuple[Gate, ...] | None:
    """Return the constants that join a value in its node, or `None` if anything else does."""
    value, following = graph.values[at], users.get(at, ())
    total = graph.values[following[0]] if len(following) == 1 else None
    folded = isinstance(value, Leaf)  # the node of the image's product is that of the sum with its bias
    if total is None or not isinstance(total, Sum) or (total.node is not value.node and not folded):
        return None if total is None or folded or total.node is value.node else ()
    others = [graph.values[j] for j in total.inputs if j != at]
    if any(not isinstance(other, Leaf) or other.kind != CONSTANT or other.node is not total.node for other in others):
        return None
    return tuple(other.value for other in others if isinstance(other, Leaf))
