"""Coverage: which attentions, MLPs and conv blocks of a model appear among the parts of its representation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

import networkx as nx
from torch import fx

from vitdecomp.trace.activations import activation_ends
from vitdecomp.trace.axes.attention_ops import attention_operations, behind, heads_behind, is_product_of_data
from vitdecomp.trace.axes.layout import Axis
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.data_flow import DATA, GATE, PRODUCT, PROJECTION, DataFlow, acts_alone
from vitdecomp.trace.data_flow import NONLINEAR as READ_AS_WHOLE
from vitdecomp.trace.linear_graph import CONSTANT
from vitdecomp.trace.mixtures import is_weighting, mixtures
from vitdecomp.trace.naming import owner
from vitdecomp.trace.obstacles import CROSSING, VALUES, Obstacle, Obstacles
from vitdecomp.trace.paths import LinearPaths, Part
from vitdecomp.trace.rule import NONLINEAR, Op, is_continuous, lookup, module_path, varies
from vitdecomp.trace.search import Search

SOURCE, OPENED, INSIDE, UNREACHED = "source", "opened", "inside", "unreached"
_NO_ACTIVATIONS = {"attention", "index", "rounding", "matrix function"}


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
    """Return every attention, and every activation in front of a projection, with what became of it."""
    view = View(paths)
    blocks: dict[str, Site] = {}
    missing: dict[str, tuple[Site, str]] = {}
    for node, name, projection in view.activations():
        site = view.block(node, name)
        if site.status == UNREACHED:
            missing.setdefault(name, (site, projection))
        elif site.status != INSIDE and (name not in blocks or blocks[name].status == OPENED):
            blocks[name] = site
    for name, (site, projection) in missing.items():  # beside another block of one module: by its projection
        own = projection if name in blocks else name
        blocks[own] = replace(site, name=own)
    attentions = [view.attention(node) for node in attention_operations(paths.captured.module.graph)]
    return (*(a for a in attentions if a.status != INSIDE), *blocks.values())


class View:
    """The parts of a model by the nodes that they come from.

    Args:
        paths: the linear paths. explains: whether the reasons are wanted, which takes a run of the graph for some.
    """

    def __init__(self, paths: LinearPaths, *, explains: bool = True) -> None:
        self.explains = explains
        self.graph, self.linearized = paths.captured.module.graph, paths.bottleneck.linearized
        leaves = paths.graph.leaves
        self.parts: Mapping[fx.Node, Part] = {
            leaves[p.leaf].node: p for p in paths.parts if leaves[p.leaf].kind != CONSTANT
        }
        self.heads: dict[fx.Node | None, Part] = {
            attention: part for node, part in self.parts.items() for attention in heads_behind(node)
        }
        self.behind = {behind(node): part for node, part in self.parts.items()} | self.heads
        self.stem = stem(paths.captured, set(self.parts)) | paths.bottleneck.stem
        self.mixtures = mixtures(self.graph)
        self.flow, self.ends = DataFlow(), activation_ends(self.graph)
        names = {node: part.who.name for node, part in self.behind.items() if node is not None}
        self.obstacles = Obstacles(paths, self.flow, self.ends, names)

    def activations(self) -> Iterator[tuple[fx.Node, str, str]]:
        """Yield every non-linear node in front of a projection, the module that the two share, and the projection's."""
        patterns = _patterns(self.graph, self.flow)
        for node in self.graph.nodes:
            if node not in patterns and self._is_activation(node):
                projection = self._projection(node)
                if projection is not None:
                    path = module_path(projection)
                    yield node, owner(module_path(node), path) or path, path

    def _is_activation(self, node: fx.Node) -> bool:
        if node.op != "call_function" or not varies(node) or "trial_shape" not in node.meta:
            return False
        if is_product_of_data(node) or not is_continuous(node):
            return False
        target = Op(node).target
        if not hasattr(target, "overloadpacket") or lookup(NONLINEAR, target) in _NO_ACTIVATIONS:
            return False
        return node in self.ends or self.flow.terms(node) is None

    def _projection(self, node: fx.Node) -> fx.Node | None:
        """Find the first product with a parameter that reads an activation, with linear operations in between."""
        found = Search([node], self._goes_into)
        readings = (reading for here in found for reading in self.flow.readings(here))
        return next((reading.user for reading in readings if reading.how == PROJECTION), None)

    def _goes_into(self, node: fx.Node) -> Iterator[fx.Node]:
        """Yield what reads a node by linear operations, or element by element."""
        for reading in self.flow.readings(node):
            if reading.how == DATA or (reading.how == READ_AS_WHOLE and acts_alone(reading.user)):
                yield reading.user

    def attention(self, node: fx.Node) -> Site:
        """Judge an attention."""
        if node in self.behind:
            part = self.behind[node]
            return Site(part.who.name, "attn", SOURCE, 1 if node in self.heads else part.layout.count(Axis.HEAD))
        if node in self.mixtures:  # a gate of the blocks that it weights, no block by itself
            return Site(module_path(node), "attn", INSIDE)
        if node in self.linearized:
            return Site(module_path(node), "attn", OPENED, why="the path goes on through its values")
        return self._judged(node, module_path(node), "attn")

    def unreached(self) -> Iterator[fx.Node]:
        """Yield the attentions and activations of blocks that no path reaches."""
        sites = [(node, self.block(node, name)) for node, name, _ in self.activations()]
        sites += [(node, self.attention(node)) for node in attention_operations(self.graph)]
        yield from (node for node, site in sites if site.status == UNREACHED)

    def block(self, node: fx.Node, name: str) -> Site:
        """Judge an activation, whose block has a name."""
        if own := self._own(node):
            if parts := [self.parts[n] for n in own if n in self.parts]:
                attention = all(p.who.kind == "attn" for p in parts)  # what its output is activated or gated with
                return Site(name, "block", INSIDE if attention else SOURCE)
            if own & self.linearized:
                return Site(name, "block", OPENED, why="the path goes on with x * (f(x) / x)")
        return self._judged(node, name, "block")

    def _own(self, node: fx.Node) -> Set[fx.Node]:
        """Collect an activation's nodes from one of them on: what its elements go into, up to the projection."""
        return {*Search([node], lambda n: filter(acts_alone, self._goes_into(n)))}

    def _judged(self, node: fx.Node, name: str, kind: str) -> Site:
        found = self.obstacles.of(node)
        if found and (self.obstacles.only_gates(node) or self._in_stem(node, found)):
            return Site(name, kind, INSIDE)
        deals = kind == "attn" and is_weighting(node)
        if any(self._is_step(o, name) or (deals and self._is_expert(o, name)) for o in found):
            return Site(name, kind, INSIDE)
        return Site(name, kind, UNREACHED, why=self.obstacles.describe(node, found) if self.explains else "")

    def _in_stem(self, node: fx.Node, found: list[Obstacle]) -> bool:
        """Check whether everything that a node computes goes through the embedding."""
        return node in self.stem or (bool(found) and all(o.node in self.stem for o in found))

    def _is_step(self, obstacle: Obstacle, name: str) -> bool:
        """Check whether what reads a node is a later step of the same block."""
        if obstacle.how not in (VALUES, CROSSING) or obstacle.joined:
            return False
        block = self._block_of(obstacle.node)
        return name == block or (bool(block) and name.startswith(block + "."))

    def _is_expert(self, obstacle: Obstacle, name: str) -> bool:
        """Check whether what reads the tokens that a block deals out is a part of that block."""
        return obstacle.how == CROSSING and bool(name) and self._block_of(obstacle.node).startswith(name + ".")

    def _block_of(self, node: fx.Node) -> str:
        projection = self._projection(node)
        path = module_path(behind(node) or node)
        return path if projection is None else owner(path, module_path(projection))


def _patterns(graph: fx.Graph, flow: DataFlow) -> Set[fx.Node]:
    """Collect the nodes between the scores of an attention and the product that they are a pattern for."""
    products = {n for n in graph.nodes if is_product_of_data(n)}
    attentions = set(attention_operations(graph))
    on = Search(products - attentions, lambda n: (r.user for r in flow.readings(n) if r.how not in (GATE, PRODUCT)))
    back = Search(attentions, lambda n: (x for x in n.all_input_nodes if varies(x) and x not in products))
    return {*on} & {*back} - products


def stem(captured: Captured, parts: Set[fx.Node]) -> frozenset[fx.Node]:
    """Find what makes the tokens of a model whose image has no linear path to the output, as with a class token.

    All that the image does goes through one node there, in front of the first attention. Only where that attention
    is a part is it right to stop: else something between the two could not be crossed.
    """
    flow: nx.DiGraph[fx.Node] = nx.DiGraph()
    flow.add_edges_from(
        (i, n) for n in captured.module.graph.nodes if varies(n) for i in n.all_input_nodes if varies(i)
    )
    attentions = [n for n in attention_operations(captured.module.graph) if n in flow]
    first = [n for n in attentions if not nx.ancestors(flow, n).intersection(attentions)]
    if not first or captured.output not in flow or not all(_leads_to(n, parts) for n in first):
        return frozenset()
    gate, above = captured.output, nx.immediate_dominators(flow, captured.image)
    while gate != captured.image and (nx.ancestors(flow, gate) | {gate}) & {*attentions, *parts}:
        gate = above[gate]
    return frozenset(nx.ancestors(flow, gate))


def _leads_to(attention: fx.Node, parts: Set[fx.Node]) -> bool:
    return any(behind(part) is attention for part in parts)
