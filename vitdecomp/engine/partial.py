"""Partial: a model that also gives the contributions of a few of its components, with weights of its own."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from vitdecomp.component import Component
from vitdecomp.engine.units import Units
from vitdecomp.trace.linear_graph import Apply, Leaf, LinearGraph, inputs
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate


class Partial(nn.Module):
    """Images to representations and to contributions of some components, `(n, d)` and `(n, k, d)`.

    Only what these components need is recorded and pushed. Parameters and buffers are copies of the model's, in the
    traced graph `model`, so that whatever is done to them leaves the model alone.

    Args:
        paths: the linear paths of the model. units: its components.
        components: those that are wanted, in the order of the contributions' axis.
    """

    def __init__(self, paths: LinearPaths, units: Units, components: Collection[Component]) -> None:
        super().__init__()
        self._units, self._captured = units, paths.captured
        self._places = [units.components.index(component) for component in components]
        wanted = {*self._places}
        leaves = [cut.part.leaf for cut in units.cuts if wanted & {*cut.rows}]
        recorder = Recorder(paths.captured, _needed(paths.graph, leaves))
        self._gates = recorder.gates
        self.model = _own(recorder.module)

    def forward(self, images: Tensor) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k d"]]:
        """The representation, and the contributions to it."""
        whole, parts = [], []
        for chunk in self._captured.chunks(images):
            representation, values = self.model(chunk)
            recorded = dict(zip(self._gates, values, strict=True))
            pushed = self._units.pushed(recorded, len(chunk), representation, {*self._places})
            whole.append(representation)
            parts.append(pushed[:, self._places])
        return torch.cat(whole)[: len(images)], torch.cat(parts)[: len(images)]


def _needed(graph: LinearGraph, leaves: Collection[int]) -> list[Gate]:
    """The gates on the way from some leaves to the output, and the values of these leaves."""
    live: set[int] = {*leaves}
    for i, value in enumerate(graph.values):
        if any(j in live for j in inputs(value)):
            live.add(i)
    kept = tuple(v for i, v in enumerate(graph.values) if i in live and isinstance(v, (Apply, Leaf)))
    return LinearGraph(kept).gates()


def _own(shared: fx.GraphModule) -> fx.GraphModule:
    """A copy of a graph in which no two tensors share memory, as safetensors wants them."""
    copy = deepcopy(shared)
    for name, weight in list(copy.named_parameters(remove_duplicate=False)):
        setattr(copy, name, nn.Parameter(weight.detach().clone(), requires_grad=False))
    for name, value in list(copy.named_buffers(remove_duplicate=False)):
        copy.register_buffer(name, value.detach().clone())
    copy.eval()
    return copy
