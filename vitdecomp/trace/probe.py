"""Numerical looks at a linear graph on the trial batch: shapes, dead leaves, whose image an element is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitdecomp.trace.linear_graph import LinearGraph, resolve
from vitdecomp.trace.rule import Gate


class Derived(dict[Gate, Any]):
    """Recorded gates, and those that can be computed from them."""

    def __missing__(self, gate: Gate) -> Any:
        args = tuple(resolve(a, self) for a in gate.args)
        with torch.no_grad():
            value = gate.fn(*args, **{k: resolve(a, self) for k, a in gate.kwargs})
        self[gate] = value
        return value


def measured(graph: LinearGraph, recorded: Mapping[Gate, Any]) -> LinearGraph:
    """Add the shape of every value on the trial batch."""
    found: dict[int, tuple[int, ...]] = {}
    leaves = {i: recorded[leaf.value] for i, leaf in graph.leaves.items()}
    with torch.no_grad():
        graph.evaluate(recorded, leaves, lambda i, x: found.__setitem__(i, tuple(x.shape)))
    return LinearGraph(graph.values, tuple(found[i] for i in range(len(graph.values))))


def supports(graph: LinearGraph, recorded: Mapping[Gate, Any], image: int) -> dict[int, Tensor]:
    """Return which elements of each leaf reach one image's representation, as a mask of the leaf's shape.

    The gates are replaced by random positive numbers: a path that is closed by the values of these very images
    is open for others, but one that a selection or a padding closes is closed for all.
    """
    source = torch.Generator().manual_seed(0)
    gates = {g: randomised(recorded[g], source) for g in graph.gates()}
    leaves = {i: torch.ones_like(recorded[leaf.value]).requires_grad_() for i, leaf in graph.leaves.items()}
    with torch.enable_grad():
        output = graph.evaluate(gates, leaves)
        direction = randomised(output[image].detach(), source)
        grads = torch.autograd.grad((output[image] * direction).sum(), list(leaves.values()), allow_unused=True)
    found: list[Tensor | None] = list(grads)
    return {i: _nonzero(leaf, g) for (i, leaf), g in zip(leaves.items(), found, strict=True)}


def _nonzero(leaf: Tensor, grad: Tensor | None) -> Tensor:
    return torch.zeros_like(leaf, dtype=torch.bool) if grad is None else grad != 0


def randomised(value: Any, source: torch.Generator) -> Any:
    """Random numbers from 0.5 to 1.5 in place of a real tensor's; anything else as it is."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    noise = torch.rand(value.shape, generator=source, dtype=torch.float32, device="cpu")
    return (0.5 + noise).to(device=value.device, dtype=value.dtype)
