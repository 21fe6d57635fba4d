"""Where an error comes in: the linear graph compared with the model, node by node."""

from __future__ import annotations

import torch
from torch import Tensor

from vitdecomp.trace.linear_graph import CONSTANT, Leaf
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate, module_path, same
from vitdecomp.trace.walk import walk


def locate_error(paths: LinearPaths, images: Tensor, tolerance: float) -> str:
    """Find the first node whose value from the leaves differs from the model's own by more than a tolerance."""
    graph = walk(paths.captured, paths.bottleneck.linearized)  # with nothing moved, so that every node can be compared
    last = {v.node: i for i, v in enumerate(graph.values) if not (isinstance(v, Leaf) and v.kind == CONSTANT)}
    at = {i: node for node, i in last.items()}
    values = [Gate(same, (node,)) for node in at.values()]
    recorded = Recorder(paths.captured, [*dict.fromkeys([*graph.gates(), *values])])(images)[1]
    found: list[str] = []

    def compare(i: int, value: Tensor) -> None:
        if i not in at or found:
            return
        truth = recorded[Gate(same, (at[i],))]
        error = float((value - truth).double().norm() / truth.double().norm().clamp_min(1e-300))
        if not error <= tolerance:
            node = at[i]
            place = module_path(node) or "the model"
            found.append(f"it comes in at {node.target} in {place} (node {node.name}, {error:.1e})")

    with torch.no_grad():
        graph.evaluate(recorded, {i: recorded[leaf.value] for i, leaf in graph.leaves.items()}, compare)
    return found[0] if found else "rounding adds up over the whole path, no single operation is at fault"
