"""Linear paths as a networkx DAG: components, the operations that carry them on, the representation."""

from __future__ import annotations

import networkx as nx
import torch

from vitdecomp.trace.axes.layout import Axis
from vitdecomp.trace.linear_graph import CONSTANT, Apply, Leaf, Sum, inputs
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import module_path

END = "representation"


def path_graph(paths: LinearPaths) -> nx.DiGraph[str]:
    """Build the DAG of linear paths.

    Nodes are the components' modules (by name, with `kind`, `heads`), the places where paths join (`sum` nodes,
    with the `module` that adds them) and `representation`. An edge says by which operations (`ops`) a value gets
    from one to the next. The values that nodes carry are all strings or numbers, so that it can be written as
    GraphML or DOT.
    """
    graph: nx.DiGraph[str] = nx.DiGraph(name="linear paths")
    names = {p.leaf: p.who.name for p in paths.parts}
    for part in paths.parts:
        who = part.who
        heads = part.layout.count(Axis.HEAD) if who.kind == "attn" else 0
        earlier = graph.nodes[who.name]["heads"] if who.name in graph else 0
        graph.add_node(who.name, kind=who.kind, module=who.module or "", block=who.block or "", heads=heads + earlier)
    origin: dict[int, tuple[str, tuple[str, ...]]] = {}
    for i, value in enumerate(paths.graph.values):
        match value:
            case Leaf():
                origin[i] = (names[i], ())
            case Apply():
                start, ops = origin[value.input]
                origin[i] = (start, (*ops, _op(value)))
            case Sum():
                name = f"sum:{value.node.name}:{i}"
                graph.add_node(name, kind="sum", module=module_path(value.node), block="", heads=0)
                for j in inputs(value):
                    _connect(graph, *origin[j], name)
                origin[i] = (name, ())
    graph.add_node(END, kind=END, module="", block="", heads=0)
    _connect(graph, *origin[len(paths.graph.values) - 1], END)
    return graph


def _connect(graph: nx.DiGraph[str], start: str, ops: tuple[str, ...], end: str) -> None:
    earlier = graph.edges[start, end]["ops"] + " | " if graph.has_edge(start, end) else ""
    graph.add_edge(start, end, ops=earlier + " ".join(ops))


def _op(value: Apply) -> str:
    name = getattr(value.step.fn, "__name__", str(value.step.fn))
    return str(name).removesuffix(".default")


__all__ = ["CONSTANT", "END", "path_graph", "torch"]
