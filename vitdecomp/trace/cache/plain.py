"""Linear paths and the graph that they run in, as a record and tensors, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from vitdecomp._utils.schema import Versioned
from vitdecomp.trace.cache.codec import Reader, runs
from vitdecomp.trace.cache.graph import read, storages, tensors, written
from vitdecomp.trace.cache.named import UnnamedError
from vitdecomp.trace.capture import Captured, again
from vitdecomp.trace.paths import LinearPaths

SCHEMA = 3


@dataclass(frozen=True, slots=True)
class Plain:
    """Linear paths as values of JSON.

    Attributes:
        graph: as `vitdecomp.trace.cache.graph` writes it.
        front_end, batch: of the captured graph.
        table, root: what `vitdecomp.trace.cache.codec` makes of the paths.
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
    return named_plain(paths, {id(tensor): name for name, tensor in tensors(module)}, storages(module))


def named_plain(
    paths: LinearPaths, names: Mapping[int, str], shared: Set[int] = frozenset()
) -> tuple[Plain, dict[str, Tensor]]:
    """Do the same with names for the tensors that are not written; arguments and errors as for `written`."""
    captured = paths.captured
    graph, constants, write = written(captured.module, names, shared)
    root = write(paths)
    return Plain(graph, captured.front_end, captured.batch, tuple(write.table), root), {**constants, **write.runs()}


def found_again(kept: Plain, tables: Mapping[str, Tensor], module: nn.Module, images: Tensor) -> LinearPaths | None:
    """Read the paths into a module like the one they were found in; return `None` if it computes something else.

    Raises:
        UnnamedError, LookupError, TypeError, ValueError: they mean nothing.
    """
    graph, nodes = read(kept.graph, tables, dict(tensors(module)))
    captured = again(module, images, graph, kept.front_end, kept.batch)
    return None if captured is None else revived(kept, tables, nodes, captured)


def revived(kept: Plain, tables: Mapping[str, Tensor], nodes: list[fx.Node], captured: Captured) -> LinearPaths:
    """Read the paths into a graph that was read.

    Raises:
        UnnamedError, LookupError, TypeError, ValueError: they mean nothing.
    """
    reader = Reader(nodes, captured, runs(tables))
    reader.enter(kept.table)
    found = reader(kept.root)
    if not isinstance(found, LinearPaths):
        raise UnnamedError(f"paths of type {type(found).__name__}")
    return found


def same_graph(kept: Plain, tables: Mapping[str, Tensor], captured: Captured, module: nn.Module) -> bool:
    """Check whether the graph of a file is that of a module that is captured."""
    names = {id(tensor): name for name, tensor in tensors(module)}
    graph, own, write = written(captured.module, names, storages(module))
    known = runs(tables)[: len(write.numbers)] == write.numbers.tolist()
    equal = all(name in tables and torch.equal(value, tables[name]) for name, value in own.items())
    return known and equal and json.loads(json.dumps(graph)) == kept.graph
