"""Pull: one backward sweep of the frozen linear graph for a direction in the output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vitdecomp.trace.linear_graph import LinearGraph
from vitdecomp.trace.rule import Gate


def pull(graph: LinearGraph, recorded: Mapping[Gate, Any], directions: Tensor) -> Iterator[dict[int, Tensor]]:
    """Pull directions back to every leaf.

    Args:
        graph: the linear map.
        recorded: the gates of a batch of n images.
        directions: one or more directions per image, `(direction, n, d)`.

    Yields:
        For each direction, the adjoint of every leaf, in the leaf's shape: its product with the leaf's value,
        summed over one image's elements, is <direction, contribution>.
    """
    leaves = {i: recorded[leaf.value].detach().requires_grad_() for i, leaf in graph.leaves.items()}
    with torch.enable_grad():
        output = graph.evaluate(recorded, leaves)
    for direction in directions:
        grads = torch.autograd.grad(output, list(leaves.values()), direction.to(output), retain_graph=True)
        yield dict(zip(leaves, grads, strict=True))
