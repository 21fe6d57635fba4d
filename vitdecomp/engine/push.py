"""Push: sources -> representation, many components at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitdecomp.engine.head_projection import project_heads
from vitdecomp.trace.linear_graph import Apply, LinearGraph, Sum, inputs, resolve
from vitdecomp.trace.rule import Gate
from vitdecomp.trace.steps import kind_of


@dataclass(frozen=True, slots=True)
class Stack:
    """Values of several leaves' tangents at one place, `(row, ...)`; `rows[leaf]` are those of a leaf."""

    rows: Mapping[int, range]
    values: Tensor


def push(
    graph: LinearGraph,
    recorded: Mapping[Gate, Any],
    tangents: Mapping[int, Mapping[int, Tensor]],
    projections: Mapping[int, tuple[int, Sequence[int]]] | None = None,
) -> dict[int, Tensor]:
    """Push stacks of tangents through the linear map.

    Args:
        graph: the linear map.
        recorded: the gates of a batch of n images.
        tangents: for each leaf the values of the graph where it begins, which is the leaf itself unless it was pushed
            ahead, and a stack of what it is there, `(k, *shape of that value)`.
        projections: products behind a leaf that tell its heads apart: how many there are, and those that are wanted.

    Returns:
        For each of those leaves its images under the map, `(k, n, d)`; behind such a product for each head all k.
    """
    last = len(graph.values) - 1
    result = push_to(graph, recorded, tangents, {last}, projections)[last]
    return {leaf: result.values[rows.start : rows.stop] for leaf, rows in result.rows.items()}


def push_to(
    graph: LinearGraph,
    recorded: Mapping[Gate, Any],
    tangents: Mapping[int, Mapping[int, Tensor]],
    stops: Collection[int],
    projections: Mapping[int, tuple[int, Sequence[int]]] | None = None,
) -> dict[int, Stack]:
    """Push as `push` does, to some values and no further; return what has come to each."""
    last = graph.last_uses()
    live = _beginnings(tangents)
    stopped: dict[int, Stack] = {}
    for i, value in enumerate(graph.values):
        stacks = live.pop(i, [])
        match value:
            case Apply() if value.input in live:
                live[value.input] = [stack := _joined(live[value.input])]
                if projections and i in projections:
                    stacks.append(_by_head(stack, resolve(value.step.args[0], recorded), *projections[i]))
                else:
                    stacks.append(Stack(stack.rows, kind_of(value.step.fn).stacked(value.step, stack.values, recorded)))
            case Sum():
                stacks += [stack for j in value.inputs if j in live for stack in live[j]]
        if stacks and i in stops:
            stopped[i] = _joined(stacks)
        elif stacks:
            live[i] = stacks if _disjoint(stacks) else [_joined(stacks)]
        for j in inputs(value):
            if last[j] == i:
                live.pop(j, None)
    return stopped


def _beginnings(tangents: Mapping[int, Mapping[int, Tensor]]) -> dict[int, list[Stack]]:
    """Collect by value what begins there."""
    found: dict[int, list[Stack]] = {}
    for leaf, starts in tangents.items():
        for at, rows in starts.items():
            found.setdefault(at, []).append(Stack({leaf: range(len(rows))}, rows))
    return found


def _by_head(stack: Stack, weight: Tensor, heads: int, some: Sequence[int]) -> Stack:
    """Project a leaf's rows head by head; nothing has joined the leaf before."""
    (leaf,) = stack.rows
    values = project_heads(stack.values, weight, heads, some)
    return Stack({leaf: range(len(values))}, values)


def _disjoint(stacks: list[Stack]) -> bool:
    leaves = [leaf for stack in stacks for leaf in stack.rows]
    return len(leaves) == len(set(leaves))


def _joined(stacks: list[Stack]) -> Stack:
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
        return Stack(rows, _all_rows([s.values for s in stacks]))
    values = stacks[0].values.new_zeros((total, *stacks[0].values.shape[1:]))
    for stack in stacks:
        for leaf, part in stack.rows.items():
            values[rows[leaf].start : rows[leaf].stop] += stack.values[part.start : part.stop]
    return Stack(rows, values)


def _all_rows(values: Sequence[Tensor]) -> Tensor:
    """Concatenate rows; images with channels last in memory stay so."""
    first = values[0]
    if first.ndim == 5 and not first.is_contiguous() and first[0].is_contiguous(memory_format=torch.channels_last):
        return torch.unflatten(torch.cat([v.flatten(0, 1) for v in values]), 0, (-1, first.shape[1]))
    return torch.cat([*values])
