"""The passes in their order: from linear paths to the same paths with less to compute."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch.nn.functional as F

from vitdecomp.errors import SpecError
from vitdecomp.trace.passes.folded_projection import fold_projections
from vitdecomp.trace.passes.merged_branches import merge_branches
from vitdecomp.trace.passes.partial_sums import Piece, SummedLeaf, left, pieces
from vitdecomp.trace.passes.sum_pushdown import push_sums_down
from vitdecomp.trace.paths import LinearPaths, Trial
from vitdecomp.trace.rules.parametric import convolve
from vitdecomp.trace.steps.sums.weighted_sum import WeightedSum

SLICES, FOLDS, BRANCHES, SUMS = "slice-push-down", "folded-projection", "merged-branches", "sum-push-down"
PASSES = (SLICES, FOLDS, BRANCHES, SUMS)
"""All passes. Slices are pushed down while the paths are found, the others by `optimize`."""


def check_passes(passes: Collection[str]) -> None:
    """Raise `SpecError` for a pass that does not exist."""
    unknown = sorted({*passes} - {*PASSES})
    if unknown:
        raise SpecError(f"no pass {unknown[0]!r}; there are: {', '.join(PASSES)}")


def optimize(paths: LinearPaths, *, channels: bool = False, passes: Collection[str] = PASSES) -> LinearPaths:
    """Rewrite linear paths so that there is less to compute.

    Args:
        paths: as they were found.
        channels: whether single channels of the sources are wanted: then no projection is folded.
        passes: those to run.
    """
    if FOLDS in passes and not channels:
        paths = _folded(paths)
    trial = Trial(paths.captured)
    if BRANCHES in passes:
        paths = _merged(paths, trial)
    return _summed(paths, trial) if SUMS in passes else paths


def _folded(paths: LinearPaths) -> LinearPaths:
    """Paths that begin behind their first product. A convolution moves from token to token."""
    products = {F.linear} if paths.by_token else {F.linear, convolve}
    found = fold_projections(paths.graph, {p.leaf: p.layout for p in paths.parts}, products)
    parts = [replace(p, leaf=found.leaves[p.leaf], layout=found.layouts.get(p.leaf, p.layout)) for p in paths.parts]
    return replace(paths, graph=found.graph, parts=tuple(parts))


def _merged(paths: LinearPaths, trial: Trial) -> LinearPaths:
    """Paths with parallel branches in one step."""
    found = merge_branches(paths.graph, trial.record(paths.graph))
    return replace(paths, graph=found.graph, parts=tuple(replace(p, leaf=found.leaves[p.leaf]) for p in paths.parts))


def _summed(paths: LinearPaths, trial: Trial) -> LinearPaths:
    """Paths with sums over tokens as early as possible; where tokens are told apart, they can still be had."""
    recorded = trial.record(paths.graph)
    layouts = {part.leaf: part.layout for part in paths.parts}

    def split(leaf: int, total: WeightedSum) -> tuple[Piece, ...] | None:
        return pieces(layouts[leaf], total, total.weighted(recorded))

    def fits(leaf: int, total: WeightedSum) -> bool:
        return split(leaf, total) is not None

    found = push_sums_down(paths.graph, recorded, fits, output=paths.captured.output)
    parts = []
    for part in paths.parts:
        early, total = replace(part, leaf=found.leaves[part.leaf]), found.sums.get(part.leaf)
        known = None if total is None else split(part.leaf, total)
        if total is not None and known is not None:
            value = paths.graph.leaves[part.leaf].value
            whole = SummedLeaf(value, part.layout, total, known) if paths.by_token else None
            early = replace(early, layout=left(total, known), whole=whole)
        parts.append(early)
    return replace(paths, graph=found.graph, parts=tuple(parts))
