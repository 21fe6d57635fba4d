"""All attentions of a model: one run with the patterns written out, and what is behind each block.

In such a run each pattern stays part of the autograd graph: the gradient of a score with respect to it is the full one,
through every later layer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch.utils._pytree import tree_map_only

from vitdecomp.attention.all_tokens import tokens_behind
from vitdecomp.attention.blocks import Block, Tail, find_blocks
from vitdecomp.attention.image_axis import ImageAxis, check_any_number, random_like
from vitdecomp.attention.pattern_tokens import NOWHERE, Attention, PatternTokens
from vitdecomp.attention.written_out import Behind, WrittenOut
from vitdecomp.errors import SpecError
from vitdecomp.trace.axes.attention_ops import attention_operations, behind
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate, module_path, opened_terms

NUMBERED = re.compile(r"^(.*\.\d+)\..*$")  # a path up to its last number


class Reach(IntEnum):
    """Tell how far gradients flow in a run: nowhere, within a block to its patterns, or through the model."""

    NOWHERE = 0
    BLOCK = 1
    MODEL = 2


@dataclass(frozen=True)
class Run:
    """One run of the model on a batch, part of an autograd graph.

    Attributes:
        output: the representation. patterns: by the number of their attention, in its own axes.
        kept: values that were asked for. recorded: gates that were asked for; they are constants.
    """

    output: Float[Tensor, "n d"]
    patterns: Mapping[int, Tensor]
    kept: Mapping[fx.Node, Tensor]
    recorded: Mapping[Gate, Any]


@dataclass(frozen=True)
class Owner:
    """Name an attention.

    Attributes:
        name: of its component. block: path of its residual block. first_head: the number of its first head.
    """

    name: str
    block: str
    first_head: int = 0

    @classmethod
    def of(cls, paths: LinearPaths) -> dict[fx.Node, Owner]:
        """Name the attentions that are components."""
        parts = [part for part in paths.parts if part.who.kind == "attn"]
        nodes = [behind(paths.graph.leaves[part.leaf].node) for part in parts]
        return {
            node: cls(part.who.name, part.who.block or part.who.name, part.first_head)
            for node, part in zip(nodes, parts, strict=True)
            if node is not None
        }

    @classmethod
    def guessed(cls, node: fx.Node) -> Owner:
        """Name an attention that is none, such as a pool, by its module: up to the last number, that of a block."""
        path = module_path(node)
        return cls(path, NUMBERED.sub(r"\1", path))


class Attentions:
    """All attentions of a captured model whose keys have places in the input.

    Args:
        captured: the model's graph.
        owners: what they are called, those that are components.

    Attributes:
        each: the attentions, in the order of the graph. owners: what they are called.
        terms: their nodes, and how the output of each is linear in its values.

    Raises:
        SpecError: the model has none.
    """

    def __init__(self, captured: Captured, owners: Mapping[fx.Node, Owner]) -> None:
        self.captured = captured
        check_any_number(captured, "attention patterns")
        found = {node: opened_terms(node) for node in attention_operations(captured.module.graph)}
        terms = {node: terms[0] for node, terms in found.items() if terms}
        tokens = PatternTokens(captured, terms)
        self.terms = {node: terms[node] for node in tokens.placed}
        described = self._described(tokens)
        if not described:
            raise SpecError("no attention of this model has keys with places in the input")
        self.terms = {node: terms[node] for node in described}
        self.owners = tuple(owners.get(node) or Owner.guessed(node) for node in described)
        self._images = [axis for axis, _ in described.values()]
        self.each = tuple(attention for _, attention in described.values())

    @classmethod
    def of(cls, paths: LinearPaths) -> Attentions:
        """Find the attentions of a model whose linear paths are known, which tell their names."""
        return cls(paths.captured, Owner.of(paths))

    def _described(self, tokens: PatternTokens) -> dict[fx.Node, tuple[ImageAxis, Attention]]:
        """Describe the attentions whose keys differ in their places, and where images lie in their patterns."""
        if not self.terms:
            return {}
        one, two = self.run(self.captured.trial[:1]), self.run(self.captured.trial[:2])
        with torch.enable_grad():
            score = (one.output * random_like(one.output)).sum()
        reads = torch.autograd.grad(score, [*one.patterns.values()], allow_unused=True)
        found = {
            node: (ImageAxis.of(pattern, pair), tokens.attention(node, pattern, read))
            for node, pattern, pair, read in zip(
                self.terms, one.patterns.values(), two.patterns.values(), reads, strict=True
            )
        }
        return {node: known for node, known in found.items() if known[1].has_places}

    def run(
        self,
        images: Float[Tensor, "n *image"],
        wanted: Collection[fx.Node] = (),
        read: Collection[int] | None = None,
        reach: Reach = Reach.MODEL,
        recorder: Recorder | None = None,
    ) -> Run:
        """Run the model with patterns written out.

        Args:
            images: a batch.
            wanted: nodes whose values are kept too.
            read: numbers of the attentions that are written out, all others stay fused; `None` for all.
            reach: how far gradients flow; for `BLOCK`, `wanted` are outputs of blocks.
            recorder: the model's graph with gates that are recorded too.
        """
        terms = {n: t for i, (n, t) in enumerate(self.terms.items()) if read is None or i in read}
        cut = wanted if reach == Reach.BLOCK else ()
        run = WrittenOut(recorder or self._plain, terms, wanted, cut)
        return self._run(run, images, differentiable=reach > Reach.NOWHERE)

    def behind(self, number: int, images: Float[Tensor, "n *image"], kept: Mapping[fx.Node, Tensor]) -> Run:
        """Run the model behind a block, without the blocks behind it, on what the blocks up to it have returned.

        Where the model has no pool of its own that attends to tokens, their mean stands in the place of each.
        """
        tail = self.tails[number]
        terms = {n: t for n, t in self.terms.items() if n in tail.needed}
        return self._run(Behind(self._plain, terms, tail, kept), images)

    def _run(self, run: WrittenOut, images: Tensor, *, differentiable: bool = True) -> Run:
        with torch.set_grad_enabled(differentiable):
            output, recorded = run.recorder.read(run.run(images))
        patterns = {i: run.patterns[node] for i, node in enumerate(self.terms) if node in run.patterns}
        return Run(output, patterns, run.kept, tree_map_only(Tensor, Tensor.detach, recorded))

    @cached_property
    def _plain(self) -> Recorder:
        """The model's graph with no gates."""
        return Recorder(self.captured, ())

    def heads(self, number: int) -> tuple[str, ...]:
        """Return the names of an attention's heads."""
        owner = self.owners[number]
        return tuple(f"{owner.name}.head.{owner.first_head + i}" for i in range(self.each[number].head_count))

    @property
    def pools(self) -> bool:
        """Whether the last attention has queries of its own, which belong to no token: it pools the tokens."""
        return bool((self.each[-1].queries == NOWHERE).all())

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The residual blocks of the attentions; an attention that pools is in none.

        Raises:
            SpecError: blocks do not follow one another.
        """
        return find_blocks(self.captured, self._block_paths)

    @property
    def _block_paths(self) -> list[str]:
        """The block of each attention that is in one."""
        return [owner.block for owner in (self.owners[:-1] if self.pools else self.owners)]

    def within(self, block: Block) -> list[int]:
        """Return the numbers of the attentions in a block."""
        return [number for number, path in enumerate(self._block_paths) if path == block.path]

    @cached_property
    def tails(self) -> tuple[Tail, ...]:
        """The model behind each block without the later ones."""
        last = self.blocks[-1].output
        found = None if self.pools else tokens_behind(self.captured, last)
        tokens = (last, ()) if found is None else (found.node, found.axes)
        return tuple(Tail.of(self.captured, self.blocks, number, tokens) for number in range(len(self.blocks)))

    def flat(self, number: int, x: Tensor, images: int) -> Float[Tensor, "n pattern"]:
        """Give values in the axes of a pattern one axis for images and one for all else."""
        return self._images[number].flat(x, images)

    def repeated(self, number: int, x: Tensor, images: int) -> Tensor:
        """Repeat values in the axes of a pattern of one image for so many images."""
        return self._images[number].repeated(x, images)
