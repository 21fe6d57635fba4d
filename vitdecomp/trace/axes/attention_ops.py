"""Attention sites, found in the graph: products of two operands that both depend on the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from vitdecomp.errors import NoRuleError
from vitdecomp.trace.axes.coordinates import along_axis, moved, site_coordinates
from vitdecomp.trace.rule import OPENINGS, Op, linear_terms, lookup, shape, varies
from vitdecomp.trace.rules.attention import SDPA, blocks_pattern, pattern_operand
from vitdecomp.trace.rules.parametric import letters
from vitdecomp.trace.steps import contracted_axis

aten = torch.ops.aten
_PRODUCTS = {aten.matmul, aten.bmm, aten.einsum, SDPA, aten.baddbmm, aten.mm}
_SOFTMAX = {aten.softmax, aten._softmax}
_PROJECTIONS = {aten.linear, aten.addmm, aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution}


def is_product_of_data(node: fx.Node) -> bool:
    """Whether a node is a matrix product of two operands that both depend on the image."""
    if getattr(node.target, "overloadpacket", None) not in _PRODUCTS or is_elementwise_product(node):
        return False
    return sum(varies(x) for x in factors(node)) >= 2


def is_elementwise_product(node: fx.Node) -> bool:
    """Whether a node is an einsum that sums over nothing: its operands are multiplied element by element."""
    if getattr(node.target, "overloadpacket", None) is not aten.einsum:
        return False
    inputs, output = letters(str(node.args[0]))
    return {*"".join(inputs)} == {*output} and any({*x} == {*output} for x in inputs)


def factors(node: fx.Node) -> list[fx.Node]:
    """The operands of a product."""
    if getattr(node.target, "overloadpacket", None) is aten.einsum:
        return list(node.args[1])  # type: ignore[arg-type]
    return [a for a in node.args[:3] if isinstance(a, fx.Node)]


def attention_sites(graph: fx.Graph) -> list[fx.Node]:
    """The nodes that apply an attention pattern to values, in the order of the graph.

    Scores (q k^T) are products too, but lead to a softmax, or straight on into the product with the values;
    normalisers (q times the sum of k) only ever divide.
    """
    return [n for n in graph.nodes if is_product_of_data(n) and (_packet(n) is SDPA or _carries_data(n))]


def _packet(node: fx.Node) -> Any:
    return getattr(node.target, "overloadpacket", None)


def _carries_data(node: fx.Node) -> bool:
    """Whether what a product returns goes on as data: into a projection, a norm or the output, not into a pattern.

    A pattern may be mixed over its heads by parameters on the way (talking heads); its queries and keys stay apart.
    """
    frontier: list[tuple[fx.Node, fx.Node, fx.Node | None]] = [(user, node, None) for user in node.users]
    seen: set[tuple[fx.Node, bool]] = set()
    carries = False
    while frontier:
        here, before, mixed = frontier.pop()
        if (here, mixed is None) in seen:
            continue
        seen.add((here, mixed is None))
        product = is_product_of_data(here) and _packet(here) is not SDPA
        if _packet(here) in _SOFTMAX or product:
            if mixed is None or not _mixes_channels(node, mixed):
                return False
            carries = True
        elif _packet(here) in _PRODUCTS | _PROJECTIONS and not is_product_of_data(here):
            carries = True
            frontier.extend((user, here, mixed or here) for user in here.users)
        elif here.op == "output" or blocks_pattern(here):
            carries = True
        elif not _only_gates(here, before):
            frontier.extend((user, here, mixed) for user in here.users)
    return carries


def _mixes_channels(site: fx.Node, product: fx.Node) -> bool:
    """Whether a product with a parameter sums over what one operand of a site brought in, and not over heads alone."""
    for term in linear_terms(product) or ():
        fields = site_coordinates(site, term.operand) if isinstance(term.operand, fx.Node) else None
        if fields is None:
            continue
        for step in term.steps:
            axis = contracted_axis(step)
            if axis is not None:
                along = along_axis(fields, axis)
                return any(len(set(along[a].tolist())) > 1 for a in free_axes(site))
            fields = moved(fields, step, product)
    return True


def _only_gates(node: fx.Node, operand: fx.Node) -> bool:
    """Whether an operand of a product or quotient is what the other operand is scaled by."""
    if _packet(node) not in (aten.mul, aten.div) or not varies(node):
        return False
    terms = linear_terms(node)
    return terms is not None and all(t.operand is not operand for t in terms)


def single_query(op: Op) -> bool:
    """Whether an attention pools: one query, many keys."""
    if op.target.overloadpacket is SDPA:
        q, k = (shape(a) for a in op.call.args[:2])  # type: ignore[arg-type]
        return q[-2] == 1 < k[-2]
    operands = factors(op.call)
    place = pattern_operand(operands)
    pattern = shape(operands[place])
    if op.target.overloadpacket is aten.einsum:
        inputs, output = _letters(op.call)
        own, values = inputs[place], inputs[1 - place]
        queries = [pattern[i] for i, x in enumerate(own) if x in output and x not in values]
        keys = [pattern[i] for i, x in enumerate(own) if x not in output and x in values]
        return torch.Size(queries).numel() == 1 < torch.Size(keys).numel()
    rows, keys_ = pattern[-2:][:: 1 if place == 0 else -1]
    return rows == 1 < keys_


def _letters(node: fx.Node) -> tuple[list[str], str]:
    """The letters of an einsum's operands and of its output; an ellipsis counts as none."""
    inputs, _, output = str(node.args[0]).replace(" ", "").replace("...", "").partition("->")
    return inputs.split(","), output


def free_axes(node: fx.Node) -> set[int]:
    """The axes of an attention's output that come from one operand alone (the others are heads and images)."""
    rank = len(shape(node))
    if getattr(node.target, "overloadpacket", None) is not aten.einsum:
        return {rank - 2, rank - 1}
    inputs, _, output = str(node.args[0]).replace(" ", "").partition("->")
    a, b = inputs.split(",")
    if "..." in output:
        return {rank - 2, rank - 1}
    return {i for i, letter in enumerate(output) if (letter in a) != (letter in b)}


def value_axes(node: fx.Node) -> set[int]:
    """The axes of an attention's output that come from its values alone."""
    rank, free = len(shape(node)), free_axes(node)
    packet = getattr(node.target, "overloadpacket", None)
    if packet is SDPA:
        return {rank - 1}
    place = pattern_operand(factors(node))
    if packet is aten.einsum and "..." not in str(node.args[0]):
        inputs, _, output = str(node.args[0]).replace(" ", "").partition("->")
        values = inputs.split(",")[1 - place]
        return {i for i in free if output[i] in values}
    return {rank - 1} if place == 0 else {rank - 2}


def behind(node: fx.Node) -> fx.Node | None:
    """The attention behind a node with nothing but activations, gates and moves in between, if there is one."""
    return next(iter(_behind(node)), None)


def _behind(node: fx.Node, limit: int = 32) -> Iterator[fx.Node]:
    frontier = [node]
    seen: set[fx.Node] = set()
    while frontier and len(seen) < limit:
        here = frontier.pop(0)
        if here in seen or not varies(here):
            continue
        seen.add(here)
        if is_product_of_data(here):
            yield here
        elif is_pointwise(here) or here is node:
            frontier.extend(i for i in here.all_input_nodes if len(shape(i)) > 0)
        else:
            frontier.extend(_moved(here))


def _moved(node: fx.Node) -> list[fx.Node]:
    """The operand of a node that only moves elements."""
    op = Op(node)
    packet = getattr(op.target, "overloadpacket", None)
    if packet in _MIXING or lookup(OPENINGS, op.target) is not None:
        return []
    try:
        terms = linear_terms(node)
    except NoRuleError:  # not on a linear path, so no rule is owed
        return []
    operands = [t.operand for t in terms or () if isinstance(t.operand, fx.Node) and varies(t.operand)]
    return operands if len(operands) == 1 else []


_MIXING = {
    aten.linear, aten.matmul, aten.mm, aten.bmm, aten.addmm, aten.conv1d, aten.conv2d, aten.conv3d, aten.einsum,
    aten.convolution, aten.layer_norm, aten.group_norm, aten.rms_norm, aten._native_batch_norm_legit_no_training,
    aten.mean, aten.sum, aten.avg_pool2d, aten.adaptive_avg_pool2d, aten.max_pool2d, aten.amax,
}  # fmt: skip


def is_pointwise(node: fx.Node) -> bool:
    """Whether a node's operation acts on each element alone."""
    if torch.Tag.pointwise in getattr(node.target, "tags", ()):
        return True
    return getattr(node.target, "overloadpacket", None) in _POINTWISE


_POINTWISE = {
    aten.gelu, aten.silu, aten.relu, aten.hardswish, aten.tanh, aten.sigmoid, aten.mul, aten.dropout, aten.hardtanh,
    aten.relu6, aten.mish, aten.hardsigmoid, aten.clone, aten._to_copy, aten.div,
}  # fmt: skip
