"""Residual blocks in a captured graph, and the model behind one of them with all later blocks left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, fx

from vitdecomp.errors import SpecError
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.rule import module_path, shape, varies
from vitdecomp.trace.search import Search


@dataclass(frozen=True)
class Block:
    """A residual block.

    Attributes:
        path: of its module.
        input: what stands in the place of its output where the block is left out: what it reads that has the same
            shape; the class token, of class attention. If there is no such value, the largest that it reads.
        output: what it returns.
        reads: all that it reads of the image.
    """

    path: str
    input: fx.Node
    output: fx.Node
    reads: tuple[fx.Node, ...]


def find_blocks(captured: Captured, paths: Sequence[str]) -> tuple[Block, ...]:
    """Find where blocks begin and end.

    Args:
        captured: the model's graph.
        paths: of the blocks, in the order of the model.

    Raises:
        SpecError: one returns nothing, or they do not follow one another.
    """
    found = []
    for path in dict.fromkeys(paths):
        block = block_at(captured.module.graph, path)
        if block is None:
            raise SpecError(f"block {path} is not in the graph of the model")
        found.append(block)
    for before, after in pairwise(found):
        if before.output not in Search(after.reads, lambda node: node.all_input_nodes):
            raise SpecError(f"block {after.path} does not read what {before.path} returns")
    return tuple(found)


def block_at(graph: fx.Graph, path: str) -> Block | None:
    """Find what a module reads and returns; `None` if it is not in the graph."""
    inside = [node for node in graph.nodes if _within(node, path) and varies(node)]
    outputs = [node for node in inside if any(not _within(user, path) for user in node.users)]
    known = set(inside)
    read = [*dict.fromkeys(i for node in inside for i in node.all_input_nodes if i not in known)]
    reads = tuple(node for node in read if varies(node))
    if not outputs or not reads:
        return None
    size = shape(outputs[-1])
    largest = max(reads, key=lambda node: torch.Size(shape(node)).numel())
    alike = (node for node in (*reads, *read) if shape(node) == size)
    return Block(path, next(alike, largest), outputs[-1], reads)


def _within(node: fx.Node, path: str) -> bool:
    module = module_path(node)
    return module == path or module.startswith(path + ".")


def mean_over(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Put the mean over some axes in place of every element along them; their gradients are one expanded tensor."""
    count = torch.Size(x.shape[axis] for axis in axes).numel()
    return (x.sum(axes, keepdim=True) / count).expand(x.shape)


@dataclass(frozen=True)
class Tail:
    """The model behind a block without the blocks behind it: what merges and pools tokens stays.

    A block that changes the number of tokens or of channels stays whole.

    Attributes:
        given: the nodes whose values are given: the outputs of the block and of those before.
        replaced: the outputs of blocks that are left out, and what stands in their place.
        last: all tokens behind the last block. axes: of them, over which they are averaged; none to leave them.
        needed: the nodes that are computed.
    """

    given: frozenset[fx.Node]
    replaced: Mapping[fx.Node, fx.Node]
    last: fx.Node
    axes: tuple[int, ...]
    needed: frozenset[fx.Node]

    @classmethod
    def of(
        cls, captured: Captured, blocks: Sequence[Block], number: int, tokens: tuple[fx.Node, tuple[int, ...]]
    ) -> Tail:
        """Find what is needed behind a block.

        Args:
            captured: the model's graph.
            blocks: all blocks, in the order of the model.
            number: of the block.
            tokens: all tokens behind the last block, and the axes over which they are averaged.
        """
        given = frozenset(block.output for block in blocks[: number + 1])
        replaced = {b.output: b.input for b in blocks[number + 1 :] if shape(b.output) == shape(b.input)}

        def before(node: fx.Node) -> Sequence[fx.Node]:
            if node in given:
                return ()
            return (replaced[node],) if node in replaced else node.all_input_nodes

        (end,) = (node for node in captured.module.graph.nodes if node.op == "output")
        return cls(given, replaced, *tokens, frozenset(Search([end], before)))
