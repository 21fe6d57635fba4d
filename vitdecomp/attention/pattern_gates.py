"""The patterns of all attentions among the gates of a frozen map, and which of their axes are keys."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from vitdecomp.trace.axes.attention_ops import attention_operations
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.operations import SDPA, packet
from vitdecomp.trace.rule import Gate, opened_terms, same
from vitdecomp.trace.rules.attention import pattern_place
from vitdecomp.trace.rules.parametric import einsum_at, letters

HIDDEN = 1e-20
"""Keys with at most this probability are masked: windows mask by a score of -100, which leaves 1e-44."""


@dataclass(frozen=True)
class PatternGate:
    """The gate that records a pattern.

    Attributes:
        node: the attention. gate: what is recorded. keys: its axes that are keys, counted from the last.
    """

    node: fx.Node
    gate: Gate
    keys: tuple[int, ...]


def pattern_gates(captured: Captured) -> tuple[PatternGate, ...]:
    """Find the patterns of all attentions that a frozen map walks through."""
    found = []
    for node in attention_operations(captured.module.graph):
        terms = opened_terms(node)
        if terms:
            step = terms[0].steps[-1]
            pattern = step.args[2][0] if step.fn is einsum_at else step.args[0]
            gate = pattern if isinstance(pattern, Gate) else Gate(same, (pattern,))
            found.append(PatternGate(node, gate, matrix_axes(node)[1]))
    return tuple(found)


def even(pattern: Tensor, keys: tuple[int, ...]) -> Tensor:
    """Spread each row of a pattern evenly over the keys that it may see."""
    seen = (pattern.abs() > HIDDEN).to(pattern)
    return seen * pattern.sum(keys, keepdim=True) / seen.sum(keys, keepdim=True).clamp_min(1)


def matrix_axes(node: fx.Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of a pattern that are queries and those that are keys, counted from the last.

    The product with the values sums over keys; queries are not among the axes of the values.
    """
    if packet(node) is SDPA:
        return (-2,), (-1,)
    place = pattern_place(node)
    if packet(node) is not torch.ops.aten.einsum:
        return ((-2,), (-1,)) if place == 0 else ((-1,), (-2,))
    inputs, output = letters(str(node.args[0]).replace("...", ""))
    own, values = inputs[place], inputs[1 - place]
    queries = (i - len(own) for i, axis in enumerate(own) if axis in output and axis not in values)
    keys = (i - len(own) for i, axis in enumerate(own) if axis in values and axis not in output)
    return tuple(queries), tuple(keys)
