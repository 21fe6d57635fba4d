"""Attention operations, found in the graph: products of two operands that both depend on the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import fx

from vitdecomp.errors import NoRuleError
from vitdecomp.trace.axes.coordinates import along_axis, coordinates_at, moved
from vitdecomp.trace.operations import (
    MIXES,
    PRODUCTS,
    PROJECTIONS,
    SDPA,
    SOFTMAX,
    factors,
    is_pointwise,
    packet,
)
from vitdecomp.trace.rule import OPENINGS, Op, linear_terms, lookup, shape, varies
from vitdecomp.trace.rules.attention import blocks_pattern, pattern_place
from vitdecomp.trace.rules.parametric import letters
from vitdecomp.trace.search import Limit, Search
from vitdecomp.trace.steps import contracted_axis

aten = torch.ops.aten


def is_product_of_data(node: fx.Node) -> bool:
    """Check whether a node is a matrix product of two operands that both depend on the input."""
    if packet(node) not in PRODUCTS | {SDPA} or is_elementwise_product(node):
        return False
    return sum(map(varies, factors(node))) >= 2


def is_elementwise_product(node: fx.Node) -> bool:
    """Check whether a node is an einsum that sums over nothing: its operands are multiplied element by element."""
    if packet(node) is not aten.einsum:
        return False
    inputs, output = letters(str(node.args[0]))
    return {*"".join(inputs)} == {*output} and any({*x} == {*output} for x in inputs)


def attention_operations(graph: fx.Graph) -> list[fx.Node]:
    """Find the nodes that apply an attention pattern to values, in the order of the graph.

    Scores (q k^T) are products too, but lead to a softmax, or straight on into the product with the values;
    normalisers (q times the sum of k) only ever divide.
    """
    return [n for n in graph.nodes if is_product_of_data(n) and (packet(n) is SDPA or _carries_data(n))]


class _Read(NamedTuple):
    """A node on the way from a product, the operand by which it was come upon, and the first projection passed."""

    node: fx.Node
    operand: fx.Node
    projection: fx.Node | None

    def onwards(self, projection: fx.Node | None) -> Iterator[_Read]:
        return (_Read(user, self.node, projection) for user in self.node.users)

    @property
    def is_pattern(self) -> bool:
        """Whether what is read becomes a pattern here, or is multiplied with one."""
        product = is_product_of_data(self.node) and packet(self.node) is not SDPA
        return packet(self.node) in SOFTMAX or product

    @property
    def is_projection(self) -> bool:
        """Whether the node is a product with a parameter."""
        return packet(self.node) in PRODUCTS | PROJECTIONS and not is_product_of_data(self.node)

    @property
    def ends(self) -> bool:
        """Whether data ends up here: a norm, a fused attention, the output."""
        return self.node.op == "output" or blocks_pattern(self.node)


def _carries_data(node: fx.Node) -> bool:
    """Check whether a product goes on as data: into a projection, a norm or the output, not into a pattern.

    A pattern may be mixed over its heads by parameters on the way (talking heads); its queries and keys stay apart.
    """

    def near(read: _Read) -> Iterator[_Read]:
        if read.is_projection:
            return read.onwards(read.projection or read.node)
        stops = read.is_pattern or read.ends or _only_gates(read.node, read.operand)
        return iter(()) if stops else read.onwards(read.projection)

    start = _Read(node, node, None).onwards(None)
    carries = False
    for read in Search(start, near, key=lambda r: (r.node, r.operand, r.projection is None)):
        if read.is_pattern and (read.projection is None or not _mixes_channels(node, read.projection)):
            return False
        carries |= read.is_pattern or read.is_projection or read.ends
    return carries


def _mixes_channels(attention: fx.Node, product: fx.Node) -> bool:
    """Check whether a product with a parameter sums over an axis of one operand of an attention, not over heads."""
    for term in linear_terms(product) or ():
        fields = coordinates_at(attention, term.operand) if isinstance(term.operand, fx.Node) else None
        if fields is None:
            continue
        for step in term.steps:
            axis = contracted_axis(step)
            if axis is not None:
                along = along_axis(fields, axis)
                return any(len(set(along[a].tolist())) > 1 for a in free_axes(attention))
            fields = moved(fields, step, product)
    return True


def _only_gates(node: fx.Node, operand: fx.Node) -> bool:
    """Check whether an operand of a product or quotient is what the other operand is scaled by."""
    if packet(node) not in (aten.mul, aten.div) or not varies(node):
        return False
    terms = linear_terms(node)
    return terms is not None and all(t.operand is not operand for t in terms)


def single_query(op: Op) -> bool:
    """Check whether an attention pools: one query, many keys."""
    if op.target.overloadpacket is SDPA:
        q, k = (shape(a) for a in op.call.args[:2])  # type: ignore[arg-type]
        return q[-2] == 1 < k[-2]
    operands = factors(op.call)
    place = pattern_place(op.call)
    pattern = shape(operands[place])
    if op.target.overloadpacket is aten.einsum:
        inputs, output = letters(str(op.call.args[0]).replace("...", ""))  # an ellipsis counts as none
        own, values = inputs[place], inputs[1 - place]
        queries = [pattern[i] for i, x in enumerate(own) if x in output and x not in values]
        keys = [pattern[i] for i, x in enumerate(own) if x not in output and x in values]
        return torch.Size(queries).numel() == 1 < torch.Size(keys).numel()
    rows, keys_ = pattern[-2:][:: 1 if place == 0 else -1]
    return rows == 1 < keys_


def free_axes(node: fx.Node) -> set[int]:
    """Return the axes of an attention's output that come from one operand alone; the others are heads and images."""
    rank = len(shape(node))
    if packet(node) is not aten.einsum:
        return {rank - 2, rank - 1}
    (a, b), output = letters(str(node.args[0]))
    if "..." in output:
        return {rank - 2, rank - 1}
    return {i for i, letter in enumerate(output) if (letter in a) != (letter in b)}


def value_axes(node: fx.Node) -> set[int]:
    """Return the axes of an attention's output that come from its values alone."""
    rank, free = len(shape(node)), free_axes(node)
    if packet(node) is SDPA:
        return {rank - 1}
    place = pattern_place(node)
    if packet(node) is aten.einsum and "..." not in str(node.args[0]):
        inputs, output = letters(str(node.args[0]))
        values = inputs[1 - place]
        return {i for i in free if output[i] in values}
    return {rank - 1} if place == 0 else {rank - 2}


def behind(node: fx.Node) -> fx.Node | None:
    """Find the attention behind a node, with nothing but activations, gates and moves in between; of several the first.

    Several are side by side where each head is an attention of its own (`heads_behind`).
    """
    found = next(filter(is_product_of_data, _back(node)), None)
    return found or next(iter(heads_behind(node)), None)


def heads_behind(node: fx.Node) -> tuple[fx.Node, ...]:
    """Find attentions that are concatenated behind a node, all of one shape; none where anything else is among them."""
    joined = next((here for here in _back(node) if packet(here) is aten.cat), None)
    if joined is None or any(map(is_product_of_data, _back(node))):
        return ()
    operands = [x for x in joined.args[0] if isinstance(x, fx.Node)]  # type: ignore[union-attr]
    found = [next(filter(is_product_of_data, _back(x)), None) for x in operands]
    alike = len(found) > 1 and None not in found and len({shape(x) for x in operands}) == 1
    return tuple(x for x in found if x is not None) if alike else ()


def _back(node: fx.Node) -> Search[fx.Node]:
    """Search what a node is made of by activations, gates and moves."""

    def near(here: fx.Node) -> list[fx.Node]:
        if is_pointwise(here) or here is node:
            return [i for i in here.all_input_nodes if len(shape(i)) > 0 and varies(i)]
        return _moved(here)

    return Search([node] if varies(node) else [], near, limit=Limit(node, "the attention that a part belongs to"))


def _moved(node: fx.Node) -> list[fx.Node]:
    """Return the operand of a node that only moves elements."""
    op = Op(node)
    if getattr(op.target, "overloadpacket", None) in MIXES or lookup(OPENINGS, op.target) is not None:
        return []
    try:
        terms = linear_terms(node)
    except NoRuleError:  # not on a linear path, so no rule is owed
        return []
    operands = [t.operand for t in terms or () if isinstance(t.operand, fx.Node) and varies(t.operand)]
    return operands if len(operands) == 1 else []
