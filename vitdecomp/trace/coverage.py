"""Coverage: which attentions, MLPs and conv blocks of a model appear among the parts of its representation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from vitdecomp.trace.linear_graph import CONSTANT
from vitdecomp.trace.naming import common_path
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import lookup, module_path, varies
from vitdecomp.trace.rules.activation import ZERO_AT_ZERO
from vitdecomp.trace.rules.parametric import CONVOLUTIONS
from vitdecomp.trace.sites import attention_sites, behind, is_pointwise

aten = torch.ops.aten
SOURCE, OPENED, INSIDE, UNREACHED = "source", "opened", "inside", "unreached"


@dataclass(frozen=True, slots=True)
class Site:
    """One attention, MLP or conv block of the model.

    Attributes:
        name: the component's name, or the module's path where it is none.
        kind: `attn` or `block` (an MLP or conv block).
        status: `source` (its parts are components), `opened` (walked through, its pattern or activation being a
            frozen gate), `inside` (a part of another block's computation) or `unreached`.
        heads: number of heads, for an attention that is a source.
        why: for what is not a source, the reason.
    """

    name: str
    kind: str
    status: str
    heads: int | None = None
    why: str = ""


def coverage(paths: LinearPaths) -> tuple[Site, ...]:
    """Every attention and every activation in front of a projection, with what became of it."""
    graph = paths.graph
    parts = {graph.leaves[p.leaf].node: p for p in paths.parts if graph.leaves[p.leaf].kind != CONSTANT}
    attention = {behind(node): part for node, part in parts.items() if behind(node) is not None}
    sites = [_attention(node, attention.get(node), paths) for node in attention_sites(paths.captured.module.graph)]
    covered = {p.who.module or p.who.name for p in parts.values()}
    blocks: dict[str, Site] = {}
    for node in paths.captured.module.graph.nodes:
        name = _block_name(node)
        if name is not None and blocks.get(name, None) is None or name and blocks[name].status != SOURCE:
            blocks[name] = _block(node, name, paths, parts, covered)
    return (*sites, *(b for b in blocks.values() if b.status != INSIDE))


def _attention(node: fx.Node, part: object, paths: LinearPaths) -> Site:
    path = module_path(node)
    found = next((p for p in paths.parts if p is part), None)
    if found is not None:
        return Site(found.who.name, "attn", SOURCE, found.layout.count("h"))
    if node in paths.trunk.opened:
        return Site(path, "attn", OPENED, why="on the trunk: the path goes on through its values")
    return Site(path, "attn", UNREACHED, why=_blocked(node, paths))


def _block_name(node: fx.Node) -> str | None:
    """The module that an activation and the projection behind it share."""
    if node.op != "call_function" or not varies(node) or not _activates(node):
        return None
    projection = _projection(node)
    if projection is None:
        return None
    return common_path(module_path(node), module_path(projection)) or module_path(node)


def _activates(node: fx.Node) -> bool:
    return getattr(node.target, "overloadpacket", None) in ZERO_AT_ZERO


def _projection(node: fx.Node, limit: int = 16) -> fx.Node | None:
    """The first product with a parameter behind an activation, if pointwise operations and norms alone lie between."""
    frontier, seen = list(node.users), 0
    while frontier and seen < limit:
        here, seen = frontier.pop(0), seen + 1
        packet = getattr(here.target, "overloadpacket", None)
        if packet in (*CONVOLUTIONS, aten.linear, aten.matmul, aten.addmm):
            return here
        if is_pointwise(here) or packet in _BETWEEN or here.target.__class__.__name__ == "builtin_function_or_method":
            frontier.extend(here.users)
    return None


_BETWEEN = {
    aten.layer_norm, aten._native_batch_norm_legit_no_training, aten.group_norm, aten.rms_norm, aten.view,
    aten.permute, aten.transpose, aten.add,
}  # fmt: skip


def _block(node: fx.Node, name: str, paths: LinearPaths, parts: dict[fx.Node, object], covered: set[str]) -> Site:
    if node in parts:
        return Site(name, "block", SOURCE)
    if node in paths.trunk.opened:
        return Site(name, "block", OPENED, why="on the trunk: the path goes on with x * (f(x) / x)")
    if any(_overlap(name, other) for other in covered) or paths.trunk.stem or _leads_into_gate(node):
        return Site(name, "block", INSIDE)
    return Site(name, "block", UNREACHED, why=_blocked(node, paths))


def _overlap(a: str, b: str) -> bool:
    return a == b or a.startswith(b + ".") or b.startswith(a + ".")


def _leads_into_gate(node: fx.Node) -> bool:
    return lookup_name(node) == "gate"


def lookup_name(node: fx.Node) -> str:
    """What an activation is for, as far as the graph tells."""
    return "gate" if all(is_pointwise(u) for u in node.users) and not node.users else "block"


def _blocked(node: fx.Node, paths: LinearPaths) -> str:
    """The nearest part that stands between a node and the representation."""
    nodes = {paths.graph.leaves[p.leaf].node: p.who.name for p in paths.parts}
    nodes = {n: name for n, name in nodes.items() if n.op == "call_function"}
    frontier, seen = list(node.users), set()
    while frontier:
        here = frontier.pop(0)
        if here in seen:
            continue
        seen.add(here)
        if here in nodes and lookup is not None:
            return f"reaches the representation only through {nodes[here]}, which is not linear"
        frontier.extend(here.users)
    return "does not reach the representation"
