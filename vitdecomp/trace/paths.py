"""From a captured model to its linear paths: which parts there are, and the linear map from each to the output."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import fx

from vitdecomp.component import CONSTANT_KIND
from vitdecomp.trace.recorder import Recorder
from vitdecomp.errors import CoverageError
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.layout import Layout, Way, find_layout, follow
from vitdecomp.trace.linear_graph import CONSTANT, IMAGE, Apply, Leaf, LinearGraph, fold_image, walk
from vitdecomp.trace.naming import Identity, constant_name, identify, unique_names
from vitdecomp.trace.opening import Trunk, find_trunk
from vitdecomp.trace.probe import Derived, shapes, supports
from vitdecomp.trace.rule import Gate, module_path
from vitdecomp.trace.sink import sink
from vitdecomp.trace.sites import attention_sites, value_axes


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of the linear graph with a name: a source, the image, or a constant.

    Attributes:
        leaf: its place in the graph.
        who: name, kind, block and module.
        layout: how its axes factor into images, heads, tokens and channels.
        first_head: number of its first head; not 0 where several attentions share a module.
    """

    leaf: int
    who: Identity
    layout: Layout
    first_head: int = 0


@dataclass(frozen=True, slots=True)
class LinearPaths:
    """All linear paths of a model.

    Attributes:
        captured: the model's graph.
        graph: the frozen linear map from the parts to the representation.
        parts: what the representation is a sum of: sources in the order of the model, then constants.
        trunk: the gates that were opened, and the stem that was not.
        sizes: shape of every value of the graph on the trial batch.
        recorder: runs the model and records what the graph needs.
    """

    captured: Captured
    graph: LinearGraph
    parts: tuple[Part, ...]
    trunk: Trunk
    sizes: Mapping[int, tuple[int, ...]]
    recorder: Recorder

    def by_token(self) -> LinearPaths:
        """The same paths with every token kept, and attention split by the token that is attended to."""
        return _assemble(self.captured, self.trunk, tokens=True, heads={p.who.name: p for p in self.parts})


def find_paths(captured: Captured, through: Collection[str] | None = None) -> LinearPaths:
    """Find all linear paths.

    Args:
        captured: the model's graph.
        through: module paths of attentions to walk through; `None` opens only what the trunk needs.

    Raises:
        NoRuleError: an operation on a path that no rule knows.
        CoverageError: nothing that depends on the image reaches the representation.
    """
    wished = _sites_at(captured, through or ())
    trunk = find_trunk(captured, lambda opened: _reached(captured, opened)[0], wished)
    return _assemble(captured, trunk)


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


def _reached(
    captured: Captured, opened: frozenset[fx.Node], token_sites: frozenset[fx.Node] | None = None
) -> tuple[LinearGraph, Derived, dict[int, Any]]:
    """The linear graph with some nodes open, its gates on the trial batch, and whose image each element is."""
    graph = fold_image(walk(captured, opened, token_sites or frozenset()))
    recorded = Derived(Recorder(captured, graph.gates())(captured.trial)[1])
    if token_sites is None:
        graph = sink(graph, shapes(graph, recorded))
    reach = supports(graph, recorded, image=1)
    dead = [i for i, support in reach.items() if not support.any()]
    if len(dead) == len(reach):
        raise CoverageError("no component reaches the representation")
    pruned = graph.pruned(dead)
    alive = [support for i, support in reach.items() if i in graph.leaves and support.any()]
    return pruned, recorded, dict(zip(pruned.leaves, alive, strict=True))


def _assemble(
    captured: Captured, trunk: Trunk, *, tokens: bool = False, heads: Mapping[str, Part] | None = None
) -> LinearPaths:
    graph, recorded, reach = _reached(captured, trunk.opened, _token_sites(captured, trunk) if tokens else None)
    images = len(captured.trial)
    sources: dict[int, tuple[Identity, Layout]] = {}
    constants: list[Part] = []
    for i, leaf in graph.leaves.items():
        way = None if leaf.kind == CONSTANT else follow(graph, i, recorded)
        layout = find_layout(leaf, recorded[leaf.value], way, reach[i], images)
        if way is None:
            name = constant_name(leaf)
            constants.append(Part(i, Identity(name, CONSTANT_KIND, None, module_path(leaf.node)), layout))
        else:
            sources[i] = (identify(graph, i, way.steps, way.end, trunk.stem), layout)
    if not sources:
        raise CoverageError("the representation is a sum of constants alone")
    parts = (*_named(sources), *constants)
    return LinearPaths(captured, graph, parts, trunk, shapes(graph, recorded), Recorder(captured, graph.gates()))


def _named(sources: Mapping[int, tuple[Identity, Layout]]) -> list[Part]:
    names = unique_names({i: who for i, (who, _) in sources.items()})
    heads: dict[str, int] = {}
    parts = []
    for i, (who, layout) in sources.items():
        who = replace(who, name=names[i])
        parts.append(Part(i, who, layout, heads.get(who.name, 0)))
        if who.kind == "attn":
            heads[who.name] = heads.get(who.name, 0) + layout.count("h")
    return parts


def _token_sites(captured: Captured, trunk: Trunk) -> frozenset[fx.Node]:
    """The attentions whose contracted axis holds the tokens (not, as in cross-covariance attention, channels)."""
    graph, recorded, _ = _reached(captured, trunk.opened)
    found = set()
    for i, leaf in graph.leaves.items():
        if leaf.kind == CONSTANT or leaf.node not in attention_sites(captured.module.graph):
            continue
        way = follow(graph, i, recorded)
        moving = {a for a in range(len(way.channels)) if way.channels[a].unique().numel() > 1}
        if moving & value_axes(leaf.node) or not moving:
            found.add(leaf.node)
    return frozenset(found)


__all__ = ["IMAGE", "Apply", "Gate", "Leaf", "LinearPaths", "Part", "find_paths", "partial"]
