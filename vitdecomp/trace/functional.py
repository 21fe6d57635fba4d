"""Graphs of torch.export in which nothing is changed in place, without a second trace."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import HigherOrderOperator, OpOverload

from vitdecomp.trace import rules  # noqa: F401 - they register themselves
from vitdecomp.trace.operations import JOINS, MIXES, REARRANGES, is_pointwise, packet
from vitdecomp.trace.rule import RULES, lookup

aten = torch.ops.aten
MADE = (MIXES | JOINS) - {aten.einsum}
"""Operations besides the pointwise ones that always return a new tensor; `einsum` of one operand may return a view."""


def made_functional(graph: fx.Graph) -> bool:
    """Replace operations in place by those that return a new tensor; check whether the rules can read the graph now.

    They cannot if a tensor that is changed is read by others too, if a node calls a graph, or if one makes a view by
    an operation without a rule. Composite operations stay as they are.
    """
    left = [node for node in graph.nodes if not (_is_functional(node) or _replaced(node))]
    return not left


def _is_functional(node: fx.Node) -> bool:
    """Check whether a node changes nothing, calls no graph, and makes a view only where a rule says which."""
    target: Any = node.target
    if node.op != "call_function" or not isinstance(target, OpOverload):
        return not isinstance(target, HigherOrderOperator)
    return not _shares(node) or (not target._schema.is_mutable and lookup(RULES, target) is not None)


def _replaced(node: fx.Node) -> bool:
    """Let a node return a new tensor instead of changing its first operand, if nothing else reads that."""
    target: Any = node.target
    changed: Any = node.args[0] if node.args else None
    if not isinstance(target, OpOverload) or not _is_read_once(changed):
        return False
    name = target._schema.name.removeprefix("aten::")
    new = getattr(getattr(aten, name.removesuffix("_"), None), target._overloadname, None)
    operands = [operand.meta.get("val") for operand in node.all_input_nodes]
    formats = {v.dtype for v in operands if isinstance(v, Tensor) and (v.is_floating_point() or v.is_complex())}
    if new is None or not name.endswith("_") or formats != {changed.meta["val"].dtype}:
        return False
    node.target = new
    return True


def _is_read_once(node: Any) -> bool:
    """Check whether a tensor is a new one, or a view of one, that a single node reads."""
    if not isinstance(node, fx.Node) or not isinstance(node.target, OpOverload) or len(node.users) > 1:
        return False
    if packet(node) in REARRANGES:
        return _is_read_once(node.args[0])
    return packet(node) in MADE or is_pointwise(node)


def _shares(node: fx.Node) -> bool:
    """Check whether an operation declares that it returns or changes one of its operands."""
    target: Any = node.target
    return any(argument.alias_info is not None for argument in target._schema.arguments)
