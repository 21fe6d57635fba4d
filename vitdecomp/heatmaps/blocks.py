"""Residual blocks in a captured graph, and the model behind one of them with all later blocks left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, fx

from vitdecomp.errors import SpecError
from vitdecomp.trace.axes.places import Places
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.rule import module_path, shape, varies
from vitdecomp.trace.search import Search


@dataclass(frozen=True)
class Block:
    """A residual block: the module at a path, the node that it reads, and the node that it returns."""

    path: str
    input: fx.Node
    output: fx.Node


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
        if not _leads_to(before.output, after.input):
            raise SpecError(f"block {after.path} does not read what {before.path} returns")
    return tuple(found)


def block_at(graph: fx.Graph, path: str) -> Block | None:
    """Find what a module reads and returns; `None` if it is not in the graph."""
    inside = [node for node in graph.nodes if _within(node, path) and varies(node)]
    outputs = [node for node in inside if any(not _within(user, path) for user in node.users)]
    known = set(inside)
    read = {i for node in inside for i in node.all_input_nodes if varies(i) and i not in known}
    if not outputs or not read:
        return None
    return Block(path, max(read, key=lambda node: torch.Size(shape(node)).numel()), outputs[-1])


def _within(node: fx.Node, path: str) -> bool:
    module = module_path(node)
    return module == path or module.startswith(path + ".")


def _leads_to(start: fx.Node, end: fx.Node) -> bool:
    return start in Search([end], lambda node: node.all_input_nodes)


def token_axes(captured: Captured, node: fx.Node) -> tuple[int, ...]:
    """Return the axes of a node's value along which tokens lie: its places in the image differ there."""
    field = Places(captured, {node}).fields.get(node)
    if field is None:
        raise SpecError(f"the tokens of {module_path(node) or 'the model'} have no places in the image")
    told = [field.number, *field.at]
    axes = [a for a in range(1, field.seen.ndim) if any(_differs(values, a) for values in told)]
    return tuple(axes)


def _differs(values: Tensor, axis: int) -> bool:
    return bool((values - values.narrow(axis, 0, 1)).abs().max() > 0.5)


def mean_over(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Put the mean over some axes in place of every element along them."""
    return x.mean(axes, keepdim=True).expand(x.shape)


@dataclass(frozen=True)
class Tail:
    """The model behind a block without the blocks behind it: what merges and pools tokens stays.

    A block that changes the number of tokens or of channels stays whole.

    Attributes:
        begin: the node whose value is given.
        replaced: the outputs of blocks that are left out, and what stands in their place.
        last: the output of the last block. axes: of it, over which tokens are averaged.
        needed: the nodes that are computed.
    """

    begin: fx.Node
    replaced: Mapping[fx.Node, fx.Node]
    last: fx.Node
    axes: tuple[int, ...]
    needed: frozenset[fx.Node]

    @classmethod
    def of(cls, captured: Captured, blocks: Sequence[Block], number: int, axes: tuple[int, ...]) -> Tail:
        """Find what is needed behind a block.

        Args:
            captured: the model's graph.
            blocks: all blocks, in the order of the model.
            number: of the block.
            axes: of the last block's output, over which tokens are averaged; none to leave them as they are.
        """
        begin = blocks[number].output
        replaced = {b.output: b.input for b in blocks[number + 1 :] if shape(b.output) == shape(b.input)}

        def before(node: fx.Node) -> Sequence[fx.Node]:
            if node is begin:
                return ()
            return (replaced[node],) if node in replaced else node.all_input_nodes

        (end,) = (node for node in captured.module.graph.nodes if node.op == "output")
        return cls(begin, replaced, blocks[-1].output, axes, frozenset(Search([end], before)))
