"""Sum push-down: add tokens up before the linear maps instead of after them.

A mean over tokens commutes with linear maps that act on each token alike, and a frozen gate that scales each token
alone only changes the weights of that mean. So a sum moves from the output towards the leaves as far as it goes:
through norms, residual sums, windows and their shifts, and where tokens are merged or averaged by blocks it leaves one
sum for each place in a block. Where several attentions read the same tokens, or one does head by head, there is a sum
for each. Behind it the linear map has a few tokens instead of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from vitdecomp.trace.linear_graph import Leaf, LinearGraph, Shape
from vitdecomp.trace.passes.push_down import PushDown
from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.steps import kind_of
from vitdecomp.trace.steps.sums.together import own_part, together
from vitdecomp.trace.steps.sums.weighted_sum import SummedStep, WeightedSum, ones


@dataclass(frozen=True, slots=True)
class Summed:
    """A linear graph that adds tokens up early.

    Attributes:
        graph: the graph.
        leaves: the leaves of the graph before, and where they are now.
        sums: what has become part of the recorded value of a leaf, by its place before.
    """

    graph: LinearGraph
    leaves: Mapping[int, int]
    sums: Mapping[int, WeightedSum]


def push_sums_down(
    graph: LinearGraph,
    recorded: Mapping[Gate, Any],
    fits: Callable[[int, WeightedSum], bool],
    *,
    output: fx.Node | None = None,
) -> Summed:
    """Move sums over tokens as early as possible, and drop what does not reach the output; the map stays the same.

    Args:
        graph: the linear map, with shapes; that of its output is `(n, d)`.
        recorded: gates of the trial batch, and those that can be computed from them.
        fits: whether a sum may become part of a leaf; else it follows as a step.
        output: the model's own, of which a value is recorded; by default what the last value of the graph was made by,
            which is another node where the last step of the model has moved.
    """
    images, width = graph.shapes[-1]
    if width == 1:  # a sum would leave out that axis
        return Summed(graph, {i: i for i in graph.leaves}, {})
    weights = Gate(ones, (output or graph.values[-1].node,))
    rewrite = _Sums(graph, recorded, fits, weights)
    written = rewrite.run(WeightedSum(((images,), (width,)), 0, frozenset(), (), weights))
    return Summed(written, rewrite.leaves, rewrite.sums)


class _Sums(PushDown[WeightedSum]):
    def __init__(
        self,
        graph: LinearGraph,
        recorded: Mapping[Gate, Any],
        fits: Callable[[int, WeightedSum], bool],
        one: Gate,
    ) -> None:
        super().__init__(graph)
        self.recorded, self.fits, self.one = recorded, fits, one
        self.leaves: dict[int, int] = {}
        self.sums: dict[int, WeightedSum] = {}

    def together(self, wanted: Sequence[WeightedSum | None]) -> WeightedSum | None:
        return together(wanted, self.one, self.recorded)

    def push(self, step: Step, wanted: WeightedSum | None, before: Shape, after: Shape) -> SummedStep | None:
        if wanted is None:
            return None
        found = kind_of(step.fn).summed(step, wanted, before, after, self.recorded)
        # A sum over nothing would have weights and no places to be added up.
        return None if found is not None and wanted.summed and not found.wanted.summed else found

    def part(
        self, served: WeightedSum | None, wanted: Sequence[WeightedSum | None], own: WeightedSum | None
    ) -> Step | None:
        return own_part(served, wanted, own)

    def shape(self, whole: Shape, wanted: WeightedSum) -> Shape:
        return tuple(wanted.factors[wanted.image] if size == -1 else size for size in wanted.after)

    def leaf(self, i: int, leaf: Leaf, wanted: WeightedSum | None) -> int:
        if wanted is not None and wanted.summed and self.fits(i, wanted):
            self.sums[i] = wanted
            self.leaves[i] = self.put(replace(leaf, value=wanted.of(leaf.value)), i, wanted)
            return self.leaves[i]
        self.leaves[i] = self.put(leaf, i, None)
        return self.leaves[i] if wanted is None else self.apply(self.leaves[i], wanted.step(), i, wanted, leaf.node)
