"""Coverage: which attentions, MLPs and conv blocks of a model appear among the parts of its representation."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import networkx as nx
import torch
from torch import fx

from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import CONSTANT
from vitdecomp.trace.naming import owner
from vitdecomp.trace.paths import LinearPaths, Part
from vitdecomp.trace.rule import module_path, varies
from vitdecomp.trace.rules.activation import ZERO_AT_ZERO
from vitdecomp.trace.rules.parametric import CONVOLUTIONS
from vitdecomp.trace.sites import attention_sites, behind, is_pointwise, only_scales

aten = torch.ops.aten
SOURCE, OPENED, INSIDE, UNREACHED = "source", "opened", "inside", "unreached"
_PROJECTIONS = {*CONVOLUTIONS, aten.linear, aten.matmul, aten.addmm, aten.einsum}
_BETWEEN = {
    aten.layer_norm, aten._native_batch_norm_legit_no_training, aten.group_norm, aten.rms_norm, aten.view,
    aten.permute, aten.transpose, aten.add,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """One attention, MLP or conv block of the model.

    Attributes:
        name: the component's name, or the module's path where it is none.
        kind: `attn` or `block` (an MLP or conv block).
        status: `source` (its parts are components), `opened` (walked through, its pattern or activation being a
            frozen gate), `inside` (one step of another block's computation) or `unreached`.
        heads: number of heads, for an attention that is a source.
        why: for what is not a source, the reason.
    """

    name: str
    kind: str
    status: str
    heads: int | None = None
    why: str = ""


def coverage(paths: LinearPaths) -> tuple[Site, ...]:
    """Every attention, and every activation in front of a projection, with what became of it."""
    view = _View(paths)
    blocks: dict[str, Site] = {}
    for node in paths.captured.module.graph.nodes:
        name = _block_name(node)
        if name is not None and (name not in blocks or blocks[name].status in (INSIDE, UNREACHED)):
            blocks[name] = view.block(node, name)
    attentions = [view.attention(node) for node in attention_sites(paths.captured.module.graph)]
    return (*attentions, *(b for b in blocks.values() if b.status != INSIDE))


class _View:
    """The parts of a model by the nodes that they come from."""

    def __init__(self, paths: LinearPaths) -> None:
        self.paths = paths
        leaves = paths.graph.leaves
        self.parts: Mapping[fx.Node, Part] = {
            leaves[p.leaf].node: p for p in paths.parts if leaves[p.leaf].kind != CONSTANT
        }
        self.behind = {behind(node): part for node, part in self.parts.items()}
        self.stem = stem(paths.captured, set(self.parts))

    def attention(self, node: fx.Node) -> Site:
        if node in self.behind:
            part = self.behind[node]
            return Site(part.who.name, "attn", SOURCE, part.layout.count("h"))
        if node in self.paths.trunk.opened:
            return Site(module_path(node), "attn", OPENED, why="pools the trunk: the path goes on through its values")
        return Site(module_path(node), "attn", UNREACHED, why=self._obstacle(node))

    def block(self, node: fx.Node, name: str) -> Site:
        attentions = [p.who.module or "" for p in self.parts.values() if p.who.kind == "attn"]
        modules = [p.who.module or "" for p in self.parts.values() if p.who.kind != "attn"]
        if name in attentions:
            return Site(name, "block", INSIDE)
        if node in self.parts or any(m == name or m.startswith(name + ".") for m in modules):
            return Site(name, "block", SOURCE)
        if node in self.paths.trunk.opened:
            return Site(name, "block", OPENED, why="lies on the trunk: the path goes on with x * (f(x) / x)")
        if any(name.startswith(m + ".") for m in modules + attentions) or self._in_stem(node) or only_scales(node):
            return Site(name, "block", INSIDE)
        return Site(name, "block", UNREACHED, why=self._obstacle(node))

    def _in_stem(self, node: fx.Node) -> bool:
        """Whether everything that a node computes goes through the embedding."""
        if node in self.stem:
            return True
        ahead = self._first_parts(node)
        return bool(ahead) and ahead <= self.paths.trunk.stem

    def _obstacle(self, node: fx.Node) -> str:
        names = sorted(self.parts[n].who.name for n in self._first_parts(node))
        if not names:
            return "does not reach the representation"
        return f"reaches the representation only through {', '.join(names[:3])}, which the path cannot cross"

    def _first_parts(self, node: fx.Node) -> set[fx.Node]:
        """The parts that are met first on the ways from a node to the output."""
        frontier, seen, found = list(node.users), set(), set()
        while frontier:
            here = frontier.pop()
            if here in seen:
                continue
            seen.add(here)
            if here in self.parts:
                found.add(here)
            else:
                frontier.extend(here.users)
        return found


def stem(captured: Captured, parts: Set[fx.Node]) -> frozenset[fx.Node]:
    """What makes the tokens of a model whose image has no linear path to the output, as with a class token.

    All that the image does goes through one node there, in front of the first attention. Only where that attention
    is a part is it right to stop: else something between the two could not be crossed.
    """
    flow: nx.DiGraph[fx.Node] = nx.DiGraph()
    flow.add_edges_from(
        (i, n) for n in captured.module.graph.nodes if varies(n) for i in n.all_input_nodes if varies(i)
    )
    attentions = [n for n in attention_sites(captured.module.graph) if n in flow]
    first = [n for n in attentions if not nx.ancestors(flow, n).intersection(attentions)]
    if not first or captured.output not in flow or not all(_leads_to(n, parts) for n in first):
        return frozenset()
    gate, above = captured.output, nx.immediate_dominators(flow, captured.image)
    while gate != captured.image and (nx.ancestors(flow, gate) | {gate}) & {*attentions, *parts}:
        gate = above[gate]
    return frozenset(nx.ancestors(flow, gate))


def _leads_to(attention: fx.Node, parts: Set[fx.Node]) -> bool:
    return any(behind(part) is attention for part in parts)


def _block_name(node: fx.Node) -> str | None:
    """The module that an activation and the projection behind it share; `None` for any other node."""
    if node.op != "call_function" or not varies(node) or _packet(node) not in ZERO_AT_ZERO:
        return None
    projection = _projection(node)
    if projection is None:
        return None
    return owner(module_path(node), module_path(projection))


def _packet(node: fx.Node) -> object:
    return getattr(node.target, "overloadpacket", None)


def _projection(node: fx.Node, limit: int = 16) -> fx.Node | None:
    """The first product with a parameter behind an activation, with pointwise operations and norms in between."""
    frontier, seen = list(node.users), 0
    while frontier and seen < limit:
        here, seen = frontier.pop(0), seen + 1
        if _packet(here) in _PROJECTIONS:
            return here
        if is_pointwise(here) or _packet(here) in _BETWEEN or (here.op == "call_function" and _packet(here) is None):
            frontier.extend(here.users)
    return None
