"""Pull: one backward sweep of the frozen linear graph for a direction in the output, or for several at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdecomp._utils.linear import linear_at_once
from vitdecomp.trace.linear_graph import Apply, LinearGraph
from vitdecomp.trace.rule import Gate

ROOM = 2**28  # bytes of adjoints at a time


def images_at_once(graph: LinearGraph, directions: int, trial: Tensor) -> int:
    """Return of how many images so many directions are pulled in one sweep.

    Args:
        graph: the linear map, whose shapes are those on the trial batch.
        directions: how many.
        trial: the trial batch.
    """
    numbers = sum(torch.Size(graph.shapes[i]).numel() for i in graph.leaves) / len(trial)
    return max(1, int(ROOM / (directions * numbers * trial.element_size())))


def pull(graph: LinearGraph, recorded: Mapping[Gate, Any], directions: Tensor) -> Iterator[dict[int, Tensor]]:
    """Pull directions back to every leaf, one by one.

    Args:
        graph: the linear map.
        recorded: the gates of a batch of n images.
        directions: one or more directions per image, `(direction, n, d)`.

    Yields:
        For each direction, the adjoint of every leaf, in the leaf's shape: its product with the leaf's value,
        summed over one image's elements, is <direction, contribution>.
    """
    leaves, output = _run(graph, recorded)
    for direction in directions.to(output):
        grads = torch.autograd.grad(output, list(leaves.values()), direction, retain_graph=True)
        yield dict(zip(leaves, grads, strict=True))


def pull_together(
    graph: LinearGraph, recorded: Mapping[Gate, Any], directions: Tensor, only: Collection[int] | None = None
) -> Iterator[dict[int, Tensor]]:
    """Pull directions back to the leaves, as many in one sweep as find room.

    Args:
        graph: the linear map.
        recorded: the gates of a batch of n images.
        directions: one or more directions per image, `(direction, n, d)`.
        only: the leaves that are wanted; `None` for all.

    Yields:
        For each sweep, the adjoints of these leaves, `(direction, *shape of the leaf)`.
    """
    leaves, output = _run(graph, recorded, only)
    one = sum(leaf.numel() * leaf.element_size() for leaf in leaves.values())

    def adjoints(direction: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(output, list(leaves.values()), direction, retain_graph=True)

    together = torch.func.vmap(adjoints)  # is_grads_batched of autograd takes a product for each direction
    for some in torch.split(directions.to(output), max(1, ROOM // one)):
        grads = together(some) if len(some) > 1 else [grad[None] for grad in adjoints(some[0])]
        yield dict(zip(leaves, grads, strict=True))


def _run(
    graph: LinearGraph, recorded: Mapping[Gate, Any], only: Collection[int] | None = None
) -> tuple[dict[int, Tensor], Tensor]:
    """Evaluate the linear map as a part of the autograd graph of its leaves, or of some of them."""
    leaves = {i: recorded[leaf.value].detach() for i, leaf in graph.leaves.items()}
    wanted = {i: leaf.requires_grad_() for i, leaf in leaves.items() if only is None or i in only}
    with torch.enable_grad():
        return wanted, _backwards(graph).evaluate(recorded, leaves)


def _backwards(graph: LinearGraph) -> LinearGraph:
    """Make products run backwards alone: the adjoint of a linear map needs no value of it."""
    return LinearGraph(
        tuple(
            replace(value, step=replace(value.step, fn=_linear))
            if isinstance(value, Apply) and value.step.fn is F.linear
            else value
            for value in graph.values
        )
    )


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    found: Tensor = _Linear.apply(x, weight)
    return found


class _Linear(torch.autograd.Function):
    """x W^T, known by its shape alone; its adjoint is g W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x.new_zeros(()).expand(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return linear_at_once(grads[0], weight.T), None
