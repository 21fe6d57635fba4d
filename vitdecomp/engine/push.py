"""Push: sources -> representation, many components at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitdecomp.engine.head_projection import project_heads
from vitdecomp.trace.linear_graph import Apply, Leaf, LinearGraph, inputs, resolve
from vitdecomp.trace.rule import Gate
from vitdecomp.trace.steps import kind_of


@dataclass(frozen=True, slots=True)
class _Stack:
    """Values of several leaves' tangents at one place, `(row, ...)`; `rows[leaf]` are those of a leaf."""

    rows: Mapping[int, range]
    values: Tensor


def push(
    graph: LinearGraph,
    recorded: Mapping[Gate, Any],
    tangents: Mapping[int, Tensor],
    projections: Mapping[int, tuple[int, Sequence[int]]] | None = None,
) -> dict[int, Tensor]:
    """Push stacks of tangents through the linear map.

    Args:
        graph: the linear map.
        recorded: the gates of a batch of n images.
        tangents: for each leaf a stack of values, `(k, *shape of the leaf)`.
        projections: products behind a leaf that tell its heads apart: how many there are, and those that are wanted.

    Returns:
        For each of those leaves its images under the map, `(k, n, d)`; behind such a product for each head all k.
    """
    last = graph.last_uses()
    live: dict[int, list[_Stack]] = {}
    for i, value in enumerate(graph.values):
        match value:
            case Leaf():
                if i in tangents:
                    live[i] = [_Stack({i: range(len(tangents[i]))}, tangents[i])]
            case Apply():
                if value.input in live:
                    stack = _joined(live[value.input])
                    if projections and i in projections:
                        live[i] = [_by_head(stack, resolve(value.step.args[0], recorded), *projections[i])]
                    else:
                        live[i] = [
                            _Stack(stack.rows, kind_of(value.step.fn).stacked(value.step, stack.values, recorded))
                        ]
            case _:
                terms = [stack for j in value.inputs if j in live for stack in live[j]]
                if terms:
                    live[i] = terms if _disjoint(terms) else [_joined(terms)]
        for j in inputs(value):
            if last[j] == i:
                live.pop(j, None)
    result = _joined(live[len(graph.values) - 1])
    return {leaf: result.values[rows.start : rows.stop] for leaf, rows in result.rows.items()}


def _by_head(stack: _Stack, weight: Tensor, heads: int, some: Sequence[int]) -> _Stack:
    """Project a leaf's rows head by head; nothing has joined the leaf before."""
    (leaf,) = stack.rows
    values = project_heads(stack.values, weight, heads, some)
    return _Stack({leaf: range(len(values))}, values)


def _disjoint(stacks: list[_Stack]) -> bool:
    leaves = [leaf for stack in stacks for leaf in stack.rows]
    return len(leaves) == len(set(leaves))


def _joined(stacks: list[_Stack]) -> _Stack:
    """Return one stack with the rows of all; rows of the same leaf, which came along several paths, are added."""
    if len(stacks) == 1:
        return stacks[0]
    rows: dict[int, range] = {}
    total = 0
    for stack in stacks:
        for leaf, part in stack.rows.items():
            if leaf not in rows:
                rows[leaf] = range(total, total + len(part))
                total += len(part)
    if _disjoint(stacks):
        return _Stack(rows, torch.cat([s.values for s in stacks]))
    values = stacks[0].values.new_zeros((total, *stacks[0].values.shape[1:]))
    for stack in stacks:
        for leaf, part in stack.rows.items():
            values[rows[leaf].start : rows[leaf].stop] += stack.values[part.start : part.stop]
    return _Stack(rows, values)
