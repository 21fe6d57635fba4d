"""Activations that are written in several operations: where each ends, and how a path goes on through it.

An activation is a non-linear function of each element of a projection's output (or of a few of them, as in gated
products and max-out). In front of the walk it is one node or many: `gelu(x)`, or `x / 2 + x * erf(x / c) / 2`. Of many,
the last one may be a plain sum, which taken by itself is linear. So what lies between is found first, and its last
node ends a path as any activation does.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.axes.coordinates import coordinates_at
from vitdecomp.trace.data_flow import PROJECTION, DataFlow, acts_alone
from vitdecomp.trace.operations import EXTREMA, NORMS, packet
from vitdecomp.trace.rule import OPENINGS, Term, data, frozen, gate, is_continuous, linear_terms, lookup, shape, varies
from vitdecomp.trace.rule import opened_terms as opened_operation
from vitdecomp.trace.rules.activation import ratio
from vitdecomp.trace.search import Limit, Search

aten = torch.ops.aten
_JOINS = {aten.add, aten.sub, aten.rsub, aten.cat, aten.stack, aten.where, aten.lerp, aten.addcmul, aten.addcdiv}
_CLAMPS = {aten.clamp, aten.clip}


@dataclass(frozen=True, slots=True)
class Activation:
    """The operations between projections and the last node of an activation, which nothing else reads.

    Attributes:
        roots: the projections or norms that it begins with.
        inside: its nodes, with the last one.
    """

    roots: tuple[fx.Node, ...]
    inside: frozenset[fx.Node]


def activation_ends(graph: fx.Graph) -> dict[fx.Node, Activation]:
    """Find the last nodes of those activations that end in an operation which is linear by itself."""
    flow, place = DataFlow(), {node: i for i, node in enumerate(graph.nodes)}
    found = {}
    for node in graph.nodes:
        kind = _kind(node)
        if kind is not None and flow.terms(node) is not None:
            activation = _closed(flow, node, place)
            if activation is not None and kind(flow, node, activation):
                found[node] = activation
    return found


def opened_terms(node: fx.Node, ends: dict[fx.Node, Activation]) -> list[Term] | None:
    """Return the terms of a node that is walked through, or `None` where that cannot be done."""
    if node not in ends:
        return opened_operation(node)
    root, *others = ends[node].roots
    if others or shape(root) != shape(node):
        return linear_terms(node)
    return [data(root).then(operator.mul, gate(ratio, node, root)), frozen("at_zero", at_zero, node, root)]


def can_open(node: fx.Node, ends: dict[fx.Node, Activation]) -> bool:
    """Check whether there is a way through a node."""
    return node in ends or lookup(OPENINGS, getattr(_call(node), "target", None)) is not None


def at_zero(y: Tensor, x: Tensor) -> Tensor:
    """y where x is zero, and zero elsewhere: what no multiple of x can be."""
    return torch.where(x == 0, y, torch.zeros_like(y))


def _call(node: fx.Node) -> Any:
    return node.args[0] if node.target is operator.getitem else node


def _kind(node: fx.Node) -> Any:
    """Return how to tell whether a node of this operation can end an activation."""
    if node.op != "call_function" or not varies(node):
        return None
    op = packet(_call(node))
    if node.target is operator.getitem:
        return _picks if op in EXTREMA and node.args[1] == 0 else None
    return _joins if op in _JOINS else _clamps if op in _CLAMPS else _picks if op in EXTREMA else None


def _closed(flow: DataFlow, end: fx.Node, place: dict[fx.Node, int]) -> Activation | None:
    """Return all that lies between projections and a node, if nothing in there is read elsewhere."""
    inside, roots = {end}, list[fx.Node]()

    def near(node: fx.Node) -> list[fx.Node]:
        return [] if node in roots else [i for i in node.all_input_nodes if varies(i)]

    # The latest first, so that all its readers have been seen.
    search = Search([end], near, order=lambda node: -place[node], limit=Limit(end, "where an activation begins"))
    for node in search:
        if node is end:
            continue
        if node.op == "placeholder" or any(varies(u) and u not in inside for u in node.users):
            return None
        inside.add(node)
        if _begins(flow, node):
            roots.append(node)
        elif not acts_alone(node):
            return None
    return None if search.cut else Activation(tuple(roots), frozenset(inside - set(roots)))


def _begins(flow: DataFlow, node: fx.Node) -> bool:
    return packet(_call(node)) in NORMS or flow.is_projection(node)


def _joins(flow: DataFlow, end: fx.Node, found: Activation) -> bool:
    """Check for a sum of functions of the same values, one of them not linear (or one and a number)."""
    if not any(flow.terms(n) is None and is_continuous(n) for n in found.inside):
        return False
    parts = [_roots_of(x, found) for x in flow.operands(end)]
    if len(parts) < 2:
        return bool(parts) and any(isinstance(t.operand, (int, float)) for t in flow.terms(end) or ())
    joined, rest = parts[0], parts[1:]
    while rest:
        touching = [p for p in rest if p & joined]
        if not touching:
            return False
        joined, rest = joined.union(*touching), [p for p in rest if not p & joined]
    return True


def _roots_of(node: fx.Node, found: Activation) -> set[fx.Node]:
    operands = Search([node], lambda n: filter(varies, n.all_input_nodes if n in found.inside else ()))
    return {*operands} & {*found.roots}


def _clamps(flow: DataFlow, end: fx.Node, found: Activation) -> bool:
    """Check for a clamp right between two projections; elsewhere it guards against overflow, and changes nothing."""
    return all(flow.is_projection(r) for r in found.roots) and _leads_straight(flow, end)


def _leads_straight(flow: DataFlow, node: fx.Node) -> bool:
    """Check whether all that reads a node are projections, with single operands of single elements in between."""

    def near(here: fx.Node) -> list[fx.Node]:
        return [reading.user for reading in flow.readings(here) if reading.how != PROJECTION]

    between = (here for here in Search([node], near) if here is not node)
    return all(acts_alone(here) and len(flow.operands(here)) == 1 for here in between)


def _picks(flow: DataFlow, end: fx.Node, found: Activation) -> bool:
    """Check for the largest of several channels of a token; the largest over tokens is a pooling."""
    source = _call(end).args[0]
    axes = _call(end).args[1] if len(_call(end).args) > 1 else ()
    own: list[int] = [axes] if isinstance(axes, int) else [*axes]
    return bool(own) and all(_own_channels(root, source, own, flow) for root in found.roots)


def _own_channels(root: fx.Node, node: fx.Node, axes: list[int], flow: DataFlow) -> bool:
    """Check whether only the root's channels lie along some axes of a node."""
    fields = coordinates_at(root, node)
    if fields is None:
        return False
    channel = len(shape(root)) - 1
    term = next((t for t in flow.terms(root) or () if varies(t.operand)), None)
    if term is not None and any(getattr(s.fn, "__name__", "") == "convolve" for s in term.steps):
        channel = 1
    known = fields[-1] != 0
    for axis in range(len(fields) - 1):
        if axis == channel:
            continue
        for along in axes:
            moved, valid = fields[axis].movedim(along, 0), known.movedim(along, 0)
            if bool(((moved[1:] != moved[:-1]) & valid[1:] & valid[:-1]).any()):
                return False
    return True
