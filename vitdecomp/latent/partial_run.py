"""A run of a part of a captured graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import fx

from vitdecomp.attention.differentiable import Differentiable
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.operations import packet
from vitdecomp.trace.rule import shape

SIZE = torch.ops.aten.sym_size


class PartialRun(Differentiable):
    """A run of some nodes on the values of others.

    Args:
        captured: the model's graph.
        computed: the nodes that are run; sizes of values are known without these values.
        given: values of nodes that they read.
        images: for how many images.
        lasting: nodes whose values are kept to the end.
    """

    def __init__(
        self,
        captured: Captured,
        computed: Collection[fx.Node],
        given: Mapping[fx.Node, Any],
        images: int,
        lasting: Collection[fx.Node] = (),
    ) -> None:
        super().__init__(captured.module)
        self.captured, self.computed, self.images = captured, computed, images
        self.lasting = {*lasting}
        self.env = dict(given)

    def value(self, end: fx.Node) -> Any:
        """Run the nodes up to one, and return its value."""
        return self.values([end])[end]

    def values(self, ends: Collection[fx.Node]) -> dict[fx.Node, Any]:
        """Run the nodes up to the last of some, and return the values of these."""
        lasting = self.lasting | {*ends}
        with torch.no_grad():
            for node in self.captured.module.graph.nodes:
                if all(end in self.env for end in ends):
                    break
                if node in self.computed and node not in self.env:
                    self.env[node] = self.run_node(node)
                    for used in {*self.user_to_last_uses.get(node, [])} - lasting:
                        self.env.pop(used, None)
        return {end: self.env[end] for end in ends}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        return self._size(n) if packet(n) is SIZE else super().run_node(n)

    def _size(self, n: fx.Node) -> int:
        """Return the size of an axis: that of the trial run, or as many times that as there are images."""
        axis: int = n.args[1]  # type: ignore[assignment]
        return shape(n.args[0])[axis] * self.images // len(self.captured.trial)  # type: ignore[arg-type]
