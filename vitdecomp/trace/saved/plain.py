"""Linear paths and the graph that they run in, as a record and tensors, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from vitdecomp._utils.schema import Versioned
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.saved.codec import Reader, runs
from vitdecomp.trace.saved.graph import written
from vitdecomp.trace.saved.named import UnnamedError

SCHEMA = 2


@dataclass(frozen=True, slots=True)
class Plain:
    """Linear paths as values of JSON.

    Attributes:
        graph: as `vitdecomp.trace.saved.graph` writes it.
        front_end, batch: of the captured graph.
        table, root: what `vitdecomp.trace.saved.codec` makes of the paths.
    """

    graph: Mapping[str, Any]
    front_end: str
    batch: int | None
    table: tuple[Any, ...]
    root: Any


@dataclass(frozen=True, slots=True)
class Kept(Versioned):
    """The header of a file in the cache."""

    paths: Plain


def plain(paths: LinearPaths, module: nn.Module) -> tuple[Plain, dict[str, Tensor]]:
    """Linear paths of a module without its weights, and the tensors that go with them.

    Raises:
        UnnamedError: they hold something that cannot be kept.
    """
    captured = paths.captured
    graph, constants, write = written(captured.module, module)
    root = write(paths)
    return Plain(graph, captured.front_end, captured.batch, tuple(write.table), root), {**constants, **write.runs()}


def revived(kept: Plain, tensors: Mapping[str, Tensor], nodes: list[fx.Node], captured: Captured) -> LinearPaths:
    """The paths in a graph that was read.

    Raises:
        UnnamedError, LookupError, TypeError, ValueError: they mean nothing.
    """
    reader = Reader(nodes, captured, runs(tensors))
    reader.enter(kept.table)
    found = reader(kept.root)
    if not isinstance(found, LinearPaths):
        raise UnnamedError(f"paths of type {type(found).__name__}")
    return found


def same_graph(kept: Plain, tensors: Mapping[str, Tensor], captured: Captured, module: nn.Module) -> bool:
    """Whether the graph of a file is that of a module that is captured."""
    graph, own, write = written(captured.module, module)
    known = runs(tensors)[: len(write.numbers)] == write.numbers.tolist()
    equal = all(name in tensors and torch.equal(value, tensors[name]) for name, value in own.items())
    return known and equal and json.loads(json.dumps(graph)) == kept.graph
