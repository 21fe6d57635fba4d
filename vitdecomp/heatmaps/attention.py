"""All attentions of a model: one run with the patterns written out, and what is behind each block.

In such a run each pattern stays part of the autograd graph: the gradient of a score with respect to it is the full one,
through every later layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, fx

from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.blocks import Block, Tail, find_blocks, token_axes
from vitdecomp.heatmaps.image_axis import ImageAxis, check_any_number, random_like
from vitdecomp.heatmaps.pattern_tokens import NOWHERE, PatternTokens
from vitdecomp.heatmaps.written_out import Behind, WrittenOut
from vitdecomp.trace.axes.attention_ops import attention_operations
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.rule import opened_terms


@dataclass(frozen=True)
class Run:
    """One run of the model on a batch, part of an autograd graph.

    Attributes:
        output: the representation. patterns: of each attention in its own axes. kept: values that were asked for.
    """

    output: Float[Tensor, "n d"]
    patterns: tuple[Tensor, ...]
    kept: Mapping[fx.Node, Tensor]


class Attentions:
    """All attentions of a captured model whose keys have places in the image.

    Args:
        captured: the model's graph.
        block_of: gives the residual block of an attention's module.

    Attributes:
        each: the attentions, in the order of the graph.

    Raises:
        SpecError: the model has none.
    """

    def __init__(self, captured: Captured, block_of: Callable[[str], str]) -> None:
        self.captured, self.block_of = captured, block_of
        check_any_number(captured, "attention patterns")
        found = {node: opened_terms(node) for node in attention_operations(captured.module.graph)}
        self._terms = {node: terms[0] for node, terms in found.items() if terms}
        tokens = PatternTokens(captured, self._terms)
        self._terms = {node: self._terms[node] for node in tokens.placed}
        if not self._terms:
            raise SpecError("no attention of this model has keys with places in the image: take method='decompose'")
        one, two = self.run(captured.trial[:1]), self.run(captured.trial[:2])
        self._images = [ImageAxis.of(a, b) for a, b in zip(one.patterns, two.patterns, strict=True)]
        with torch.enable_grad():
            score = (one.output * random_like(one.output)).sum()
        reads = torch.autograd.grad(score, one.patterns, allow_unused=True)
        self.each = tuple(
            tokens.attention(node, pattern, read)
            for node, pattern, read in zip(self._terms, one.patterns, reads, strict=True)
        )

    def run(self, images: Float[Tensor, "n *image"], wanted: Collection[fx.Node] = ()) -> Run:
        """Run the model with all patterns written out.

        Args:
            images: a batch.
            wanted: nodes whose values are kept too.
        """
        return self._run(WrittenOut(self.captured, self._terms, wanted), images)

    def behind(self, number: int, images: Float[Tensor, "n *image"], tokens: Tensor) -> Run:
        """Run the model behind a block, without the blocks behind it, on the block's output.

        Where the model has no pool of its own that attends to tokens, their mean stands in the place of each.
        """
        tail = self.tails[number]
        terms = {n: t for n, t in self._terms.items() if n in tail.needed}
        return self._run(Behind(self.captured, terms, tail, tokens), images)

    @staticmethod
    def _run(run: WrittenOut, images: Tensor) -> Run:
        with torch.enable_grad():
            output = run.run(images)
        output = output[0] if isinstance(output, (tuple, list)) else output
        return Run(output, tuple(run.patterns.values()), run.kept)

    @property
    def pools(self) -> bool:
        """Whether the last attention has queries of its own, which belong to no token: it pools the tokens."""
        return bool((self.each[-1].queries == NOWHERE).all())

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The residual blocks of the attentions, one for each; an attention that pools is none.

        Raises:
            SpecError: blocks do not follow one another.
        """
        each = self.each[:-1] if self.pools else self.each
        return find_blocks(self.captured, [self.block_of(attention.module) for attention in each])

    @cached_property
    def tails(self) -> tuple[Tail, ...]:
        """The model behind each block without the later ones."""
        axes = () if self.pools else token_axes(self.captured, self.blocks[-1].output)
        return tuple(Tail.of(self.captured, self.blocks, number, axes) for number in range(len(self.blocks)))

    def flat(self, number: int, x: Tensor, images: int) -> Float[Tensor, "n pattern"]:
        """Give values in the axes of a pattern one axis for images and one for all else."""
        return self._images[number].flat(x, images)
