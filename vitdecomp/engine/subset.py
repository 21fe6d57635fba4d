"""Subset: a model that also gives the contributions of a few of its components, with weights of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from vitdecomp.component import Component
from vitdecomp.engine.component_set import ComponentSet
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import Apply, Leaf, LinearGraph, inputs
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate


@dataclass(frozen=True)
class Program:
    """What a `Subset` does with its weights; it is never changed, so that copies share it."""

    component_set: ComponentSet
    captured: Captured
    gates: tuple[Gate, ...]
    places: tuple[int, ...]

    def __deepcopy__(self, memo: object) -> Program:
        return self


class Subset(nn.Module):
    """Images to representations and to contributions of some components, `(n, d)` and `(n, k, d)`.

    Only what these components need is recorded and pushed. Parameters and buffers are copies of the model's, under the
    names that they have there, in the traced graph `model`: whatever is done to them leaves the model alone.

    Args:
        paths: the linear paths of the model. component_set: its components.
        components: those that are wanted, in the order of the contributions' axis.
    """

    def __init__(self, paths: LinearPaths, component_set: ComponentSet, components: Collection[Component]) -> None:
        super().__init__()
        places = tuple(component_set.components.index(component) for component in components)
        leaves = [partition.part.leaf for partition in component_set.partitions if {*places} & {*partition.rows}]
        recorder = Recorder(paths.captured, _needed(paths.graph, leaves))
        self.program = Program(component_set, paths.captured, recorder.gates, places)
        self.model = _own(recorder.module, weight_names(paths.captured))

    def forward(self, images: Tensor) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k d"]]:
        """Compute the representation, and the contributions to it."""
        whole, parts, program = [], [], self.program
        for chunk in program.captured.chunks(images):
            representation, values = self.model(chunk)
            recorded = dict(zip(program.gates, values, strict=True))
            pushed = program.component_set.pushed(recorded, len(chunk), representation, {*program.places})
            whole.append(representation)
            parts.append(pushed[:, list(program.places)])
        return torch.cat(whole)[: len(images)], torch.cat(parts)[: len(images)]


def weight_names(captured: Captured) -> dict[str, str]:
    """For each tensor of a graph its name in the model; one that has none there gets one of its own."""
    names: dict[str, str] = {}
    for node in captured.module.graph.nodes:
        if node.op == "get_attr" and isinstance(getattr(captured.module, str(node.target), None), Tensor):
            known = str(node.meta.get("parameter", ""))
            fine = known and known != node.target and known not in names.values()
            names.setdefault(str(node.target), known if fine else f"constants.{node.target}")
    return names


def _needed(graph: LinearGraph, leaves: Collection[int]) -> list[Gate]:
    """Collect the gates on the paths from some leaves to the output, and the values of these leaves."""
    live: set[int] = {*leaves}
    for i, value in enumerate(graph.values):
        if any(j in live for j in inputs(value)):
            live.add(i)
    kept = tuple(v for i, v in enumerate(graph.values) if i in live and isinstance(v, (Apply, Leaf)))
    return LinearGraph(kept).gates()


def _own(shared: fx.GraphModule, names: Mapping[str, str]) -> fx.GraphModule:
    """Copy a graph, with names for its tensors, no two of which share memory, as safetensors requires."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(shared.graph, {}))
    weights: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op == "get_attr" and node.target not in names:  # a graph inside the graph
            weights[node.target] = getattr(shared, node.target)
        elif node.op == "get_attr":
            value = getattr(shared, node.target)
            node.target = names[node.target]
            copy = value.detach().clone(memory_format=torch.contiguous_format)
            is_weight = isinstance(value, nn.Parameter)
            weights[node.target] = nn.Parameter(copy, requires_grad=False) if is_weight else copy
    made = fx.GraphModule(weights, graph)
    made.eval()
    return made
