"""`frozen`: a complete attribution to pixels, through every attention and activation with their gates frozen."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch

from vitdecomp.engine.pull import pull
from vitdecomp.heatmaps.explainer import Explainer, register_explainer
from vitdecomp.heatmaps.grid import summed, total
from vitdecomp.heatmaps.heatmaps import Audit, Heatmaps
from vitdecomp.heatmaps.subject import Subject
from vitdecomp.trace.linear_graph import CONSTANT, SOURCE
from vitdecomp.trace.rule import Gate


@register_explainer
class Frozen(Explainer):
    """Gradient x input with all gates frozen: softmax(Q K^T), f(x)/x of every activation, 1/std of every norm.

    The map and the constants add up to the score. What cannot be walked through counts as without a place.

    Args:
        pixels: keep the map at the resolution of the input, in place of sums over patches.

    References:
        LibraGrad, arXiv 2411.16760, for gates that are frozen in the backward pass.
    """

    name: ClassVar[str] = "frozen"
    adds_up: ClassVar[bool] = True

    def __init__(self, pixels: bool = False) -> None:
        self.pixels = pixels

    def gates(self, subject: Subject) -> Collection[Gate]:
        """Return those of the frozen map."""
        return subject.frozen.gates

    def explain(self, subject: Subject) -> Heatmaps:
        """Pull the directions back to the pixels."""
        frozen, recorded, n = subject.frozen, subject.recorded, len(subject.images)
        sweeps = []
        for adjoints in pull(frozen.graph, recorded, subject.by_direction):
            products = {i: recorded[leaf.value] * adjoints[i] for i, leaf in frozen.graph.leaves.items()}
            kinds = (frozen.total(products, kind, n) for kind in (CONSTANT, SOURCE))
            sweeps.append((subject.by_place(frozen.at_image(products)), *kinds))
        pixels, constants, placeless = (torch.stack(list(each), 1) for each in zip(*sweeps, strict=True))
        constants = subject.with_offset(constants)
        grid = pixels if self.pixels else summed(pixels, subject.grid.size)
        residual = subject.score - constants - placeless - total(grid)
        return self.audited(subject, grid, Audit.of(subject.score, constants, placeless, residual))
