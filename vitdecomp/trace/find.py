"""Find the linear paths of a captured model: which parts there are, and the linear map from each to the output."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from vitdecomp.component import CONSTANT_KIND
from vitdecomp.errors import CoverageError
from vitdecomp.trace.axes.attention_ops import attention_operations, value_axes
from vitdecomp.trace.axes.coordinates import follow
from vitdecomp.trace.axes.layout import Axis, find_layout
from vitdecomp.trace.axes.mixed_constants import split_constants
from vitdecomp.trace.axes.tokens import NO_TOKENS, lay_out_tokens
from vitdecomp.trace.branches import every_gate, gates_in_branches
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import CONSTANT, LinearGraph
from vitdecomp.trace.linearize import Bottleneck, find_bottleneck
from vitdecomp.trace.mixtures import mixtures
from vitdecomp.trace.naming import Identity, constant_name, identify, unique_names
from vitdecomp.trace.passes.optimize import PASSES, SLICES
from vitdecomp.trace.passes.slice_pushdown import push_slices_down
from vitdecomp.trace.paths import LinearPaths, Part, Trial
from vitdecomp.trace.probe import Derived, measured, supports
from vitdecomp.trace.rule import module_path
from vitdecomp.trace.walk import fold_image, walk

NONE, AUTO, ALL = THROUGH = "none", "auto", "all"
"""Which gates are opened: none at all, those that blocks need, and every one down to the image."""


def find_paths(
    captured: Captured, through: Collection[str] | None = None, passes: Collection[str] = PASSES
) -> LinearPaths:
    """Find all linear paths.

    Args:
        captured: the model's graph.
        through: module paths of attentions to walk through beside the gates that blocks need, or one word of `THROUGH`;
            `None` is `["auto"]`.
        passes: whether slices are pushed down is up to these.

    Raises:
        NoRuleError: an operation on a path that no rule knows.
        CoverageError: nothing that depends on the input reaches the representation.
    """
    reached: dict[frozenset[fx.Node], _Reached] = {}
    trial = Trial(captured)

    def reach(opened: frozenset[fx.Node]) -> dict[fx.Node, Tensor]:
        found = reached[opened] = _reach(trial, opened, slices=SLICES in passes)
        leaves = found.graph.leaves
        return {leaf.node: found.supports[i] for i, leaf in leaves.items() if leaf.kind != CONSTANT}

    def carried(opened: frozenset[fx.Node], source: fx.Node) -> set[fx.Node]:
        return _carried(reached[opened], source)

    opened, chosen = mixtures(captured.module.graph), [*(through or [AUTO])]
    if chosen in ([NONE], [ALL]):
        opened |= every_gate(captured) if chosen == [ALL] else frozenset()
        reach(opened)
        return _assemble(captured, Bottleneck(opened, frozenset()), reached[opened])
    opened |= _sites_at(captured, chosen if chosen != [AUTO] else ())
    bottleneck = find_bottleneck(captured, reach, opened)
    paths = _assemble(captured, bottleneck, reached[bottleneck.linearized])
    plain = frozenset(leaf.node for leaf in paths.graph.leaves.values())
    while gates := gates_in_branches(paths, reach, carried, plain):
        bottleneck = replace(bottleneck, linearized=bottleneck.linearized | gates, stem=bottleneck.stem - gates)
        reach(bottleneck.linearized)
        paths = _assemble(captured, bottleneck, reached[bottleneck.linearized])
    return paths


def split_by_token(paths: LinearPaths, passes: Collection[str] = PASSES) -> LinearPaths:
    """Split attention by the token that is attended to, on the same paths."""
    sites = _token_sites(paths)
    reached = _reach(Trial(paths.captured), paths.bottleneck.linearized, sites, slices=SLICES in passes)
    found = _assemble(paths.captured, paths.bottleneck, reached)
    layouts = {part.leaf: part.layout for part in found.parts if part.who.kind != CONSTANT_KIND}
    axis, known = lay_out_tokens(found.captured, found.graph, layouts, reached.recorded)
    parts = tuple(replace(part, tokens=known.get(part.leaf, NO_TOKENS)) for part in found.parts)
    return replace(found, parts=parts, axis=axis)


def _sites_at(captured: Captured, modules: Collection[str]) -> frozenset[fx.Node]:
    sites = attention_operations(captured.module.graph)
    found = frozenset(s for s in sites if any(_within(module_path(s), m) for m in modules))
    for m in modules:
        if not any(_within(module_path(s), m) for s in found):
            known = ", ".join(dict.fromkeys(module_path(s) for s in sites)) or "none"
            raise CoverageError(f"through: no attention in module {m!r}; there are: {known}")
    return found


def _within(path: str, module: str) -> bool:
    return path == module or path.startswith(module + ".")


@dataclass(frozen=True, slots=True)
class _Reached:
    """A linear graph, its gates on the trial batch, and which elements of its leaves reach the second image."""

    graph: LinearGraph
    recorded: Derived
    supports: Mapping[int, Tensor]


def _reach(
    trial: Trial,
    opened: frozenset[fx.Node],
    token_sites: frozenset[fx.Node] = frozenset(),
    *,
    slices: bool,
) -> _Reached:
    """Walk with some nodes open; those in `token_sites` are attentions that begin at their values."""
    captured = trial.captured
    graph = fold_image(walk(captured, opened, token_sites))
    recorded = trial.record(graph)
    graph = measured(graph, recorded)
    if slices:
        graph = push_slices_down(graph)
    graph, reach = split_constants(graph, supports(graph, recorded, image=1), len(captured.trial))
    alive = [support for support in reach.values() if support.any()]
    if not alive:
        raise CoverageError("no component reaches the representation")
    graph = graph.pruned([i for i, support in reach.items() if not support.any()])
    return _Reached(graph, recorded, dict(zip(graph.leaves, alive, strict=True)))


def _carried(reached: _Reached, source: fx.Node) -> set[fx.Node]:
    """Find the nodes that something of a source comes through."""
    graph, found = reached.graph, set[fx.Node]()
    leaves = {i: torch.ones_like(reached.recorded[v.value]) for i, v in graph.leaves.items() if v.node is source}

    def watch(i: int, value: Tensor) -> None:
        if bool(value.any()):
            found.add(graph.values[i].node)

    with torch.no_grad():
        graph.evaluate(reached.recorded, leaves, watch)
    return found


def _assemble(captured: Captured, bottleneck: Bottleneck, reached: _Reached) -> LinearPaths:
    """Name the leaves of a linear graph and lay them out."""
    graph, recorded = reached.graph, reached.recorded
    images = len(captured.trial)
    sources: dict[int, Part] = {}
    constants: list[Part] = []
    for i, leaf in graph.leaves.items():
        end = None if leaf.kind == CONSTANT else follow(graph, i, recorded)
        layout, evidence = find_layout(leaf, recorded[leaf.value], end, reached.supports[i], images)
        if end is None:
            name = constant_name(leaf)
            who = Identity(name, CONSTANT_KIND, None, module_path(leaf.node))
            constants.append(Part(i, who, layout))
        else:
            who = identify(graph, i, end.steps, end.end, bottleneck.stem)
            sources[i] = Part(i, who, layout, evidence=evidence)
    if not sources:
        raise CoverageError("the representation is a sum of constants alone")
    return LinearPaths(captured, graph, (*_named(sources), *constants), bottleneck)


def _named(sources: Mapping[int, Part]) -> list[Part]:
    names = unique_names({i: part.who for i, part in sources.items()})
    heads: dict[str, int] = {}
    parts = []
    for i, part in sources.items():
        name = names[i]
        parts.append(replace(part, who=replace(part.who, name=name), first_head=heads.get(name, 0)))
        if part.who.kind == "attn":
            heads[name] = heads.get(name, 0) + part.layout.count(Axis.HEAD)
    return parts


def _token_sites(paths: LinearPaths) -> frozenset[fx.Node]:
    """Find the attentions whose contracted axis holds tokens (not channels, as in cross-covariance attention)."""
    sites = set(attention_operations(paths.captured.module.graph))
    found = set()
    for part in paths.parts:
        leaf = paths.graph.leaves[part.leaf]
        if leaf.node in sites and leaf.kind != CONSTANT:
            channels = part.layout.axes(Axis.CHANNEL)
            if not channels or channels & value_axes(leaf.node):
                found.add(leaf.node)
    return frozenset(found)
