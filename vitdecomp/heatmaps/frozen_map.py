"""The linear map from the input to the representation, with every gate frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from vitdecomp.errors import SpecError
from vitdecomp.trace.axes.layout import Layout, find_layout
from vitdecomp.trace.axes.mixed_constants import split_constants
from vitdecomp.trace.branches import every_gate
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import IMAGE, LinearGraph
from vitdecomp.trace.paths import on_trial
from vitdecomp.trace.probe import supports
from vitdecomp.trace.rule import Gate
from vitdecomp.trace.walk import walk


@dataclass(frozen=True)
class FrozenMap:
    """The linear map from the input to the representation with every gate frozen.

    Attributes:
        graph: its leaves are the image, constants, and sources that cannot be walked through.
        gates: what it takes of a run of the model.
        layouts: where the images lie in each leaf.
    """

    graph: LinearGraph
    gates: tuple[Gate, ...]
    layouts: Mapping[int, Layout]

    @classmethod
    def of(cls, captured: Captured) -> FrozenMap:
        """Walk through every non-linear operation that can be opened.

        Raises:
            SpecError: nothing of the image reaches the representation that way.
        """
        graph = walk(captured, every_gate(captured))
        if not any(leaf.kind == IMAGE for leaf in graph.leaves.values()):
            raise SpecError("frozen: no path from the input to the representation: take method='decompose'")
        recorded, images = on_trial(captured, graph), len(captured.trial)
        graph, reach = split_constants(graph, supports(graph, recorded, image=1), images)
        layouts = {
            i: find_layout(leaf, recorded[leaf.value], None, reach[i], images)[0] for i, leaf in graph.leaves.items()
        }
        return cls(graph, tuple(graph.gates()), layouts)

    @cached_property
    def kinds(self) -> Mapping[int, str]:
        """What each leaf is: the image, a constant, or a source."""
        return {i: leaf.kind for i, leaf in self.graph.leaves.items()}

    def total(self, values: Mapping[int, Tensor], kind: str, images: int) -> Float[Tensor, " n"]:
        """Sum the values of one kind of leaves over all but the images."""
        total = next(iter(values.values())).new_zeros(images)
        for i, x in values.items():
            if self.kinds[i] == kind:
                total = total + self.layouts[i].canonical(x, images).flatten(1).sum(1)
        return total

    def at_image(self, values: Mapping[int, Tensor]) -> Float[Tensor, "n *image"]:
        """Sum the values at the leaves that are the image."""
        found: Tensor = sum(x for i, x in values.items() if self.kinds[i] == IMAGE)  # type: ignore[assignment]
        return found
