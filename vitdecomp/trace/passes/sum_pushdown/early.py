"""Pool early: add tokens up before the linear maps instead of after them.

A mean over tokens commutes with linear maps that act on each token alike, and a frozen gate that scales each token
alike only changes the weights of that mean. So a pool moves from the output towards the leaves as far as it goes:
through norms, residual sums, windows and their shifts, and where tokens are merged or averaged by blocks it leaves one
sum for each place in a block. Where several attentions read the same tokens, or one does head by head, there is a sum
for each. Behind it the linear map has a few tokens instead of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from vitdecomp.trace.linear_graph import Apply, Leaf, LinearGraph, Sum, Value, inputs
from vitdecomp.trace.passes.sum_pushdown.moves import MOVERS
from vitdecomp.trace.passes.sum_pushdown.pool import Pool, Shape, ones
from vitdecomp.trace.passes.sum_pushdown.shapes import Moved
from vitdecomp.trace.passes.sum_pushdown.together import own_part, together
from vitdecomp.trace.rule import Gate, Step


@dataclass(frozen=True, slots=True)
class Pooled:
    """A linear graph that pools early.

    Attributes:
        graph: the graph.
        leaves: the leaves of the graph before, and where they are now.
        pools: what has become part of the recorded value of a leaf, by its place before.
    """

    graph: LinearGraph
    leaves: Mapping[int, int]
    pools: Mapping[int, Pool]


def pool_early(
    graph: LinearGraph,
    shapes: Mapping[int, Shape],
    recorded: Mapping[Gate, Any],
    fits: Callable[[int, Pool], bool],
    *,
    output: fx.Node | None = None,
) -> Pooled:
    """The same linear map with its sums over tokens as early as possible, and nothing that does not reach its output.

    Args:
        graph: the linear map, whose output is `(n, d)`.
        shapes: the shape of each of its values on the trial batch.
        recorded: gates of the trial batch, and those that can be computed from them.
        fits: whether a pool may become part of a leaf; else it follows as a step.
        output: the model's own, of which a value is recorded; by default what the last value of the graph was made by,
            which is another node where the last step of the model has moved.
    """
    last = len(graph.values) - 1
    images, width = shapes[last]
    if width == 1:  # a pool would leave out that axis
        return Pooled(graph, {i: i for i in graph.leaves}, {})
    begin = Pool(((images,), (width,)), 0, frozenset(), (), Gate(ones, (output or graph.values[last].node,)))
    wanted: dict[int, list[Pool | None]] = {last: [begin]}
    kept: dict[int, Pool | None] = {}
    moved: dict[int, Moved] = {}
    for i in range(last, -1, -1):
        value, requests = graph.values[i], wanted.get(i)
        if requests is None:
            continue
        kept[i] = pool = together(requests, begin.weights, recorded)
        asked = pool
        if isinstance(value, Apply) and pool is not None:
            found = _move(value.step, pool, shapes[value.input], shapes[i], recorded)
            asked = None if found is None else found[0]
            if found is not None:
                moved[i] = found
        for j in inputs(value):
            wanted.setdefault(j, []).append(asked)
    return _Rebuild(graph, wanted, kept, moved, fits).run()


def _move(step: Step, pool: Pool, before: Shape, after: Shape, recorded: Mapping[Gate, Any]) -> Moved | None:
    """A pool in front of a step, but not where it would be over nothing: weights need places to be added up."""
    mover = MOVERS.get(step.fn)
    found = None if mover is None else mover(step, pool, before, after, recorded)
    return None if found is not None and pool.pooled and not found[0].pooled else found


class _Rebuild:
    """Writes the graph anew: every value as its pool leaves it."""

    def __init__(
        self,
        graph: LinearGraph,
        wanted: Mapping[int, Sequence[Pool | None]],
        kept: Mapping[int, Pool | None],
        moved: Mapping[int, Moved],
        fits: Callable[[int, Pool], bool],
    ) -> None:
        self.graph, self.wanted, self.kept, self.moved, self.fits = graph, wanted, kept, moved, fits
        self.values: list[Value] = []
        self.at: dict[int, int] = {}
        self.leaves: dict[int, int] = {}
        self.pools: dict[int, Pool] = {}

    def run(self) -> Pooled:
        for i, value in enumerate(self.graph.values):
            if i in self.kept:
                self.at[i] = self._rebuild(i, value)
        return Pooled(LinearGraph(tuple(self.values)), self.leaves, self.pools)

    def _rebuild(self, i: int, value: Value) -> int:
        pool = self.kept[i]
        match value:
            case Leaf():
                return self._leaf(i, value, pool)
            case Sum():
                ends = tuple(self._end(j, pool, value) for j in value.inputs)
                return self._put(replace(value, inputs=ends))
            case Apply() if i in self.moved:
                asked, step = self.moved[i]
                return self._step(self._end(value.input, asked, value), step, value)
            case Apply():
                end = self._step(self._end(value.input, None, value), value.step, value)
                return end if pool is None else self._step(end, pool.step(), value)

    def _leaf(self, i: int, leaf: Leaf, pool: Pool | None) -> int:
        if pool is not None and pool.pooled and self.fits(i, pool):
            self.pools[i] = pool
            leaf, pool = replace(leaf, value=pool.of(leaf.value)), None
        self.leaves[i] = self._put(leaf)
        return self.leaves[i] if pool is None else self._step(self.leaves[i], pool.step(), leaf)

    def _end(self, j: int, pool: Pool | None, like: Apply | Sum) -> int:
        """The rebuilt input, pooled here if its other users want all of it, or its part of what they all want."""
        kept = self.kept[j]
        if kept == pool:
            return self.at[j]
        return self._step(self.at[j], own_part(kept, self.wanted[j], pool), like)

    def _step(self, end: int, step: Step | None, like: Value) -> int:
        return end if step is None else self._put(Apply(end, step, like.node))

    def _put(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1
