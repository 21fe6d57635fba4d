"""The graph of linear paths as a file, for other programs to draw or to query."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networkx as nx

from vitdecomp._utils.files import atomic, check_file
from vitdecomp.errors import OutputError


def check_graph_file(path: Path) -> None:
    """Raise `OutputError` for a suffix that is not known or a place that cannot be written."""
    if path.suffix not in WRITERS:
        raise OutputError(f"cannot write a graph as {path.name}: the name must end in {' or '.join(WRITERS)}")
    check_file(path)


def write_graph(graph: nx.DiGraph[str], path: Path) -> None:
    """Write a graph as GraphML or DOT, after the suffix of the path."""
    check_graph_file(path)
    with atomic(path) as partial:
        WRITERS[path.suffix](graph, partial)


def _write_graphml(graph: nx.DiGraph[str], path: Path) -> None:
    nx.write_graphml(graph, path)


def _write_dot(graph: nx.DiGraph[str], path: Path) -> None:
    lines = ["digraph {", "  rankdir = BT;", "  node [shape = box];"]
    lines += [f"  {_quoted(name)}{_attributes(data)};" for name, data in graph.nodes(data=True)]
    lines += [f"  {_quoted(a)} -> {_quoted(b)}{_attributes(data)};" for a, b, data in graph.edges(data=True)]
    path.write_text("\n".join([*lines, "}", ""]), encoding="utf-8")


def _attributes(data: dict[str, object]) -> str:
    shown = ", ".join(f"{key} = {_quoted(str(value))}" for key, value in data.items())
    return f" [{shown}]" if shown else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


WRITERS: dict[str, Callable[[nx.DiGraph[str], Path], None]] = {".graphml": _write_graphml, ".dot": _write_dot}
