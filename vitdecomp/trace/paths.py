"""From a captured model to its linear paths: which parts there are, and the linear map from each to the output."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vitdecomp._utils.tolerance import coarsest
from vitdecomp.component import CONSTANT_KIND
from vitdecomp.errors import CoverageError
from vitdecomp.trace.axes.attention_ops import attention_sites, value_axes
from vitdecomp.trace.axes.coordinates import follow
from vitdecomp.trace.axes.layout import Layout, find_layout
from vitdecomp.trace.axes.tokens import NO_TOKENS, TokenAxis, Tokens, lay_out_tokens
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import CONSTANT, LinearGraph
from vitdecomp.trace.linearize import Trunk, find_trunk
from vitdecomp.trace.mixtures import mixtures
from vitdecomp.trace.naming import Identity, constant_name, identify, unique_names
from vitdecomp.trace.passes.folded_projection import begin_late
from vitdecomp.trace.passes.partial_sums import Piece, SummedLeaf, left, pieces
from vitdecomp.trace.passes.slice_pushdown import push_slices_down
from vitdecomp.trace.passes.sum_pushdown import push_sums_down
from vitdecomp.trace.probe import Derived, shapes, supports
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate, module_path, same
from vitdecomp.trace.rules.parametric import convolve
from vitdecomp.trace.steps.sums.weighted_sum import WeightedSum
from vitdecomp.trace.walk import fold_image, walk


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of the linear graph with a name: a source, the image, or a constant.

    Attributes:
        leaf: its place in the graph.
        who: name, kind, block and module.
        layout: how its axes factor into images, heads, tokens and channels.
        tokens: where its tokens lie on the model's token axis, if they are asked for.
        first_head: number of its first head; not 0 where several attentions share a module.
        whole: the leaf as it was, where its tokens are added up before the linear map and are asked for.
    """

    leaf: int
    who: Identity
    layout: Layout
    tokens: Tokens = NO_TOKENS
    first_head: int = 0
    whole: SummedLeaf | None = None


@dataclass(frozen=True)
class LinearPaths:
    """All linear paths of a model.

    Attributes:
        captured: the model's graph.
        graph: the frozen linear map from the parts to the representation.
        parts: what the representation is a sum of: sources in the order of the model, then constants.
        trunk: the gates that were opened, and the stem that was not.
        sizes: shape of every value of the graph on the trial batch.
        axis: the tokens of all parts, if they are asked for.
        early: the same paths with sums over tokens as early as possible: less to compute, harder to read.
        neurons: the same, with the channels of every source.
    """

    captured: Captured
    graph: LinearGraph
    parts: tuple[Part, ...]
    trunk: Trunk
    sizes: Mapping[int, tuple[int, ...]]
    axis: TokenAxis = field(default_factory=TokenAxis)
    early: LinearPaths | None = None
    neurons: LinearPaths | None = None

    @cached_property
    def recorder(self) -> Recorder:
        """Runs the model and records what the graph and its parts need."""
        whole = [gate for part in self.parts if part.whole is not None for gate in part.whole.gates]
        return Recorder(self.captured, [*dict.fromkeys([*self.graph.gates(), *whole])])

    @cached_property
    def coarsest(self) -> torch.dtype:
        """The number format on the paths with the largest rounding."""
        met = [value.node.meta.get("trial_dtype") for value in self.graph.values]
        return coarsest([self.captured.output.meta["trial_dtype"], *(dtype for dtype in met if dtype)]) or torch.float32

    def by_token(self) -> LinearPaths:
        """The same paths with attention split by the token that is attended to."""
        reached = _reach(self.captured, self.trunk.opened, _token_sites(self))
        return _assemble(self.captured, self.trunk, reached, tokens=True)


def find_paths(captured: Captured, through: Collection[str] | None = None) -> LinearPaths:
    """Find all linear paths.

    Args:
        captured: the model's graph.
        through: module paths of attentions to walk through; `None` opens only what the trunk needs.

    Raises:
        NoRuleError: an operation on a path that no rule knows.
        CoverageError: nothing that depends on the image reaches the representation.
    """
    reached: dict[frozenset[fx.Node], _Reached] = {}

    def frontier(opened: frozenset[fx.Node]) -> dict[fx.Node, Tensor]:
        found = reached[opened] = _reach(captured, opened)
        leaves = found.graph.leaves
        return {leaf.node: found.supports[i] for i, leaf in leaves.items() if leaf.kind != CONSTANT}

    opened = _sites_at(captured, through or ()) | mixtures(captured.module.graph)
    trunk = find_trunk(captured, frontier, opened)
    return _assemble(captured, trunk, reached[trunk.opened])


def _sites_at(captured: Captured, modules: Collection[str]) -> frozenset[fx.Node]:
    sites = attention_sites(captured.module.graph)
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


def _reach(captured: Captured, opened: frozenset[fx.Node], token_sites: frozenset[fx.Node] = frozenset()) -> _Reached:
    """Walk with some nodes open; those in `token_sites` are attentions that begin at their values."""
    graph = fold_image(walk(captured, opened, token_sites))
    output, gates = Recorder(captured, graph.gates())(captured.trial)
    recorded = Derived({**gates, Gate(same, (captured.output,)): output})
    graph = push_slices_down(graph, shapes(graph, recorded))
    reach = supports(graph, recorded, image=1)
    alive = [support for support in reach.values() if support.any()]
    if not alive:
        raise CoverageError("no component reaches the representation")
    graph = graph.pruned([i for i, support in reach.items() if not support.any()])
    return _Reached(graph, recorded, dict(zip(graph.leaves, alive, strict=True)))


def _assemble(captured: Captured, trunk: Trunk, reached: _Reached, *, tokens: bool = False) -> LinearPaths:
    """Name the leaves of a linear graph and lay them out."""
    graph, recorded = reached.graph, reached.recorded
    images = len(captured.trial)
    sources: dict[int, Part] = {}
    constants: list[Part] = []
    for i, leaf in graph.leaves.items():
        way = None if leaf.kind == CONSTANT else follow(graph, i, recorded)
        layout = find_layout(leaf, recorded[leaf.value], way, reached.supports[i], images)
        if way is None:
            name = constant_name(leaf)
            who = Identity(name, CONSTANT_KIND, None, module_path(leaf.node))
            constants.append(Part(i, who, layout))
        else:
            who = identify(graph, i, way.steps, way.end, trunk.stem)
            sources[i] = Part(i, who, layout)
    if not sources:
        raise CoverageError("the representation is a sum of constants alone")
    paths = LinearPaths(captured, graph, (*_named(sources), *constants), trunk, shapes(graph, recorded))
    if tokens:  # a convolution moves from token to token
        layouts = {i: part.layout for i, part in sources.items()}
        axis, known = lay_out_tokens(captured, graph, layouts, recorded)
        parts = tuple(replace(part, tokens=known.get(part.leaf, NO_TOKENS)) for part in paths.parts)
        paths = replace(paths, parts=parts, axis=axis)
        return replace(paths, early=_pooled(_late(paths, recorded, {F.linear}), recorded, tokens=True))
    early = _pooled(_late(paths, recorded, {F.linear, convolve}), recorded)
    return replace(paths, early=early, neurons=_pooled(paths, recorded))


def _late(paths: LinearPaths, recorded: Derived, products: Collection[Any]) -> LinearPaths:
    """The same paths, which begin behind their first product where single channels are not asked for."""
    late = begin_late(paths.graph, {p.leaf: p.layout for p in paths.parts}, paths.sizes, products=products)

    def note(i: int, value: Tensor) -> None:
        if i in late.totals:
            recorded[late.totals[i]] = value

    paths.graph.evaluate(recorded, {i: recorded[leaf.value] for i, leaf in paths.graph.leaves.items()}, note)
    parts = [replace(p, leaf=late.leaves[p.leaf], layout=late.layouts.get(p.leaf, p.layout)) for p in paths.parts]
    return replace(paths, graph=late.graph, parts=tuple(parts))


def _pooled(paths: LinearPaths, recorded: Derived, *, tokens: bool = False) -> LinearPaths:
    """The same paths with sums over tokens as early as possible; with `tokens` these stay to be had."""
    layouts = {part.leaf: part.layout for part in paths.parts}

    def split(leaf: int, total: WeightedSum) -> tuple[Piece, ...] | None:
        return pieces(layouts[leaf], total, total.weighted(recorded))

    output = paths.captured.output
    found = push_sums_down(
        paths.graph, paths.sizes, recorded, lambda leaf, total: split(leaf, total) is not None, output=output
    )
    parts = []
    for part in paths.parts:
        early, total = replace(part, leaf=found.leaves[part.leaf]), found.sums.get(part.leaf)
        known = None if total is None else split(part.leaf, total)
        if total is not None and known is not None:
            value = paths.graph.leaves[part.leaf].value
            whole = SummedLeaf(value, part.layout, total, known) if tokens else None
            early = replace(early, layout=left(total, known), whole=whole)
        parts.append(early)
    sizes = shapes(found.graph, recorded)
    return LinearPaths(paths.captured, found.graph, tuple(parts), paths.trunk, sizes, paths.axis)


def _named(sources: Mapping[int, Part]) -> list[Part]:
    names = unique_names({i: part.who for i, part in sources.items()})
    heads: dict[str, int] = {}
    parts = []
    for i, part in sources.items():
        name = names[i]
        parts.append(replace(part, who=replace(part.who, name=name), first_head=heads.get(name, 0)))
        if part.who.kind == "attn":
            heads[name] = heads.get(name, 0) + part.layout.count("h")
    return parts


def _token_sites(paths: LinearPaths) -> frozenset[fx.Node]:
    """The attentions whose contracted axis holds the tokens (not, as in cross-covariance attention, channels)."""
    sites = set(attention_sites(paths.captured.module.graph))
    found = set()
    for part in paths.parts:
        leaf = paths.graph.leaves[part.leaf]
        if leaf.node in sites and leaf.kind != CONSTANT:
            channels = part.layout.axes("w")
            if not channels or channels & value_axes(leaf.node):
                found.add(leaf.node)
    return frozenset(found)
