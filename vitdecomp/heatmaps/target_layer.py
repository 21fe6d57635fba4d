"""The layer that class activation maps look at: a value of the graph, and which of its elements belong to each patch.

By default what the last attention reads, which for a class token is the norm in front of the last block's attention;
behind it nothing reads the patches any more. Where there is no attention, the last value that the whole image passes
and that still has a grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, fx

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.attention.blocks import block_at
from vitdecomp.attention.differentiable import Differentiable
from vitdecomp.attention.image_axis import ImageAxis, check_any_number, random_like
from vitdecomp.attention.pattern_tokens import distinct_places, numbers_of
from vitdecomp.errors import SpecError
from vitdecomp.trace.axes.grids import find_grids
from vitdecomp.trace.axes.places import Places
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.rule import module_path, shape, varies
from vitdecomp.trace.search import Search

LOOKED_AT = 4  # values without attention, from the last one back


@dataclass(frozen=True)
class LayerRun:
    """One run of the model, differentiated from a layer on.

    Attributes:
        output: the representation. value: of the layer.
    """

    output: Float[Tensor, "n d"]
    value: Tensor

    def gradient(self, directions: Float[Tensor, "n d"]) -> Tensor:
        """Compute the gradient of a score with respect to the layer."""
        with torch.enable_grad():
            score = (self.output * directions).sum()
        found: tuple[Tensor | None, ...] = torch.autograd.grad(
            score, [self.value], retain_graph=True, allow_unused=True
        )
        return torch.zeros_like(self.value) if found[0] is None else found[0]


@dataclass(frozen=True)
class TargetLayer:
    """A layer whose values lie on a grid of patches; class and register tokens and padding are left out.

    Attributes:
        captured: the model's graph. node: the layer's value in it.
        size: how many patches there are along each axis of the grid, such as rows and columns.
        elements: of the value for one image, those of each patch; the order of channels is the same in all.
        images: where images lie in the value.
    """

    captured: Captured
    node: fx.Node
    size: tuple[int, ...]
    elements: Int64[Tensor, "cell channel"]
    images: ImageAxis

    @classmethod
    def of(cls, captured: Captured, attention: str | None, layer: str | None) -> TargetLayer:
        """Choose the layer.

        Args:
            captured: the model's graph.
            attention: path of the last attention; `None` if the model has none.
            layer: path of the module whose output is the layer, in place of our choice.

        Raises:
            SpecError: no such module, or no layer on a grid of patches.
        """
        check_any_number(captured, "class activation maps")
        candidates = [_output(captured, layer)] if layer is not None else [*_candidates(captured, attention)]
        fields = Places(captured, set(candidates)).fields
        for node in candidates:
            found = None if node not in fields else cls._placed(captured, node, fields[node])
            if found is not None and (layer is not None or found._is_read()):
                return found
        which = "no layer of this model lies" if layer is None else f"the output of {layer} does not lie"
        raise SpecError(f"{which} on a grid of patches: name a module that returns patches with layer=")

    @classmethod
    def _placed(cls, captured: Captured, node: fx.Node, field: Any) -> TargetLayer | None:
        """Return the layer if each patch of a grid has as many elements as any other one."""
        grid = find_grids({0: distinct_places(field)}, captured.trial.shape[1:]).get(0)
        if grid is None or prod(grid.size) == 1:
            return None
        one, two = (run_from(captured, node, captured.trial[:n]).value.detach() for n in (1, 2))
        images, cells = ImageAxis.of(one, two), prod(grid.size)
        numbers = images.flat(numbers_of(grid, field), 1)[0]
        order = numbers.argsort(stable=True)
        order = order[(numbers[order] >= 0) & (numbers[order] < cells)]
        counts = numbers[order].bincount(minlength=cells)
        if len({*counts.tolist()}) != 1:
            return None
        return cls(captured, node, grid.size, order.reshape(cells, -1), images)

    def _is_read(self) -> bool:
        """Check whether the representation depends on every patch of the layer."""
        run = run_from(self.captured, self.node, self.captured.trial[:1])
        gradient = self.on_grid(run.gradient(random_like(run.output)), 1)
        return bool((gradient != 0).any(1).all())

    def run(self, images: Float[Tensor, "n *image"]) -> LayerRun:
        """Run the model on a batch."""
        return run_from(self.captured, self.node, images)

    def on_grid(self, x: Tensor, images: int) -> Float[Tensor, "n channel *grid"]:
        """Lay a value of the layer, or its gradient, out on the grid."""
        patches = self.images.flat(x, images)[:, self.elements.to(x.device)]
        return torch.unflatten(patches.transpose(1, 2), 2, self.size)


class _From(Differentiable):
    """A run that is differentiated from the value of one node on."""

    def __init__(self, module: fx.GraphModule, node: fx.Node) -> None:
        super().__init__(module)
        self.node, self.value = node, torch.empty(0)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and begin at the one that is asked for."""
        found = super().run_node(n)
        if n is self.node:
            found = self.value = found.detach().requires_grad_()
        return found


def run_from(captured: Captured, node: fx.Node, images: Float[Tensor, "n *image"]) -> LayerRun:
    """Run the model on a batch, differentiated from a node on."""
    run = _From(captured.module, node)
    with torch.enable_grad():
        output = run.run(images)
    return LayerRun(output[0] if isinstance(output, (tuple, list)) else output, run.value)


def _output(captured: Captured, layer: str) -> fx.Node:
    """Return what a module returns."""
    found = block_at(captured.module.graph, layer)
    if found is None:
        paths = dict.fromkeys(module_path(node) for node in captured.module.graph.nodes if varies(node))
        raise SpecError(f"no module {layer!r} on the way to the representation{did_you_mean(layer, paths)}")
    return found.output


def _candidates(captured: Captured, attention: str | None) -> Iterator[fx.Node]:
    """List what the last attention reads, and the last values that all of the image passes."""
    found = None if not attention else block_at(captured.module.graph, attention)
    if found is not None:
        yield found.input
    size = torch.Size(shape(captured.output)).numel()
    wide = (n for n in reversed(_passed_by_all(captured)) if torch.Size(shape(n)).numel() > size)
    yield from islice(wide, LOOKED_AT)


def _passed_by_all(captured: Captured) -> Sequence[fx.Node]:
    """Return the nodes on every path from the input to the representation, in the order of the graph."""
    needed = set(Search([captured.output], lambda node: node.all_input_nodes))
    nodes = [node for node in captured.module.graph.nodes if node in needed and varies(node)]
    place, found, open_until = {node: i for i, node in enumerate(nodes)}, [], 0
    for i, node in enumerate(nodes):
        if open_until <= i:
            found.append(node)
        open_until = max([open_until, *(place[user] for user in node.users if user in place)])
    return found
