"""Which of two factors is the data and which the gate, and which masks are activations in disguise."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from vitdecomp.trace.operations import REARRANGES, REPEATS, is_pointwise, packet
from vitdecomp.trace.rule import Op, shape, varies


def data_and_gate(a: Any, b: Any) -> tuple[Any, Any] | None:
    """Return the factor that is the data, then the gate; `None` if both depend on the input and are as large."""
    if not (varies(a) and varies(b)):
        return (a, b) if varies(a) else (b, a)
    if distinct(a) == distinct(b):
        return None
    return (a, b) if distinct(a) > distinct(b) else (b, a)


def distinct(node: fx.Node) -> int:
    """Count elements before any expansion: `gate.expand_as(x)` is as small as `gate`."""
    size = torch.Size(shape(node)).numel()
    operand = _elements_of(node)
    return size if operand is None else min(size, distinct(operand))


def _elements_of(node: fx.Node) -> fx.Node | None:
    """Return the operand whose elements a node repeats, moves or maps one by one."""
    if packet(node) in REARRANGES | REPEATS:
        return node.all_input_nodes[0]
    moving = [x for x in node.all_input_nodes if varies(x)]
    return moving[0] if is_pointwise(node) and len(moving) == 1 and shape(moving[0]) == shape(node) else None


def is_elementwise(op: Op, mask: Any) -> bool:
    """Check whether a mask is made of the input for each element on its own, as that of a ReLU is."""
    return varies(mask) and distinct(mask) >= torch.Size(op.shape).numel()
