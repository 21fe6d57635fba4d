"""Slice push-down: take the class token before the linear maps instead of after them.

Linear maps that act on each token alike commute with choosing some tokens. So a slice moves from the output towards the
leaves as far as it goes. What it meets on its way shrinks to the tokens that count, and what lies outside them (the
patch branch of a class-token model, say) contributes nothing at all, and goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from vitdecomp.trace.linear_graph import Leaf, LinearGraph, Shape
from vitdecomp.trace.passes.push_down import Nothing, PushDown
from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.steps import kind_of
from vitdecomp.trace.steps.slices import NOTHING, Slice, SlicedStep, cut_to, resized


def push_slices_down(graph: LinearGraph) -> LinearGraph:
    """Move slices as early as possible, and drop the leaves that they cut off; the linear map stays the same.

    Args:
        graph: the linear map, with shapes.
    """
    return _Slices(graph).run(None).pruned()


class _Slices(PushDown[Slice]):
    def together(self, wanted: Sequence[Slice | None]) -> Slice | None:
        return wanted[0] if all(request == wanted[0] for request in wanted) else None

    def push(self, step: Step, wanted: Slice | None, before: Shape, after: Shape) -> SlicedStep | None:
        kind = kind_of(step.fn)
        if wanted is None:
            own = kind.own_slice(step)
            return None if own is None else SlicedStep(own, None)
        found = kind.sliced(step, wanted, before, after)
        if found is NOTHING:
            raise Nothing
        return found

    def part(self, served: Slice | None, wanted: Sequence[Slice | None], own: Slice | None) -> Step | None:
        return None if own is None else Step(torch.narrow, tuple(own))

    def shape(self, whole: Shape, wanted: Slice) -> Shape:
        return resized(whole, wanted.dim, wanted.length)

    def leaf(self, i: int, leaf: Leaf, wanted: Slice | None) -> int:
        cut = leaf if wanted is None else replace(leaf, value=Gate(cut_to, (leaf.value, *wanted)))
        return self.put(cut, i, wanted)
