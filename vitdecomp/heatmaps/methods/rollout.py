"""`rollout` and `chefer`: products of the patterns of all blocks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.attention.attentions import Attentions, Reach
from vitdecomp.attention.pattern_tokens import Attention
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.explainer import register_explainer
from vitdecomp.heatmaps.methods.from_attention import FromAttention, Layer, Patterns, on_grid


class _Product(FromAttention):
    """Relevance of every token for every other one, block by block from the first.

    Args:
        layers: how many of the last blocks count; all by default.
    """

    def __init__(self, layers: int | None = None) -> None:
        if layers is not None and layers < 1:
            raise SpecError(f"{self.name}: layers must be a positive number, not {layers}")
        self.last = layers

    def reads(self, attentions: Attentions) -> Collection[int]:
        """Return the last ones."""
        return range(len(attentions.each))[-(self.last or 0) :]

    def layers(self, patterns: Patterns, direction: int) -> Sequence[Layer]:
        """Take the row of the class token, or of the attention pool, or the mean over the queries that are read."""
        numbers = [*self.reads(patterns.attentions)]
        attention, pool = patterns.each[-1], None
        if patterns.attentions.pools:
            *numbers, pool = numbers
        self.check([patterns.each[number] for number in numbers], attention)
        weights, tokens = self.weights(patterns, direction), max(patterns.each[number].tokens for number in numbers)
        relevance: Tensor | None = None
        for number in numbers:
            relevance = self.multiplied(patterns.each[number].matrix(weights[number], tokens), relevance)
        cells = attention.cells
        if pool is not None:
            row = attention.by_key(weights[pool])
            found = row if relevance is None else (row[:, None] @ relevance[:, :cells, :cells])[:, 0]
            return [Layer(attention.module, on_grid(attention, found[:, None]))]
        assert relevance is not None
        rows = torch.unique(attention.queries[attention.read])
        found = relevance[:, rows[rows >= 0], :cells].mean(1, keepdim=True)
        return [Layer(attention.module, on_grid(attention, found))]

    def check(self, attentions: Sequence[Attention], last: Attention) -> None:
        """Raise `SpecError` where the attentions are not between the same patches."""
        for each in attentions:
            if each.grid != last.grid:
                raise SpecError(
                    f"{self.name} multiplies the patterns of all blocks, and {each.module} attends to "
                    f"{_times(each.grid)} patches, {last.module} to {_times(last.grid)}: "
                    "take another method for models with several grids"
                )

    @abstractmethod
    def weights(self, patterns: Patterns, direction: int) -> Mapping[int, Float[Tensor, "n pattern"]]:
        """Return what stands in place of each pattern, by the number of its attention."""

    @abstractmethod
    def multiplied(self, matrix: Float[Tensor, "n t t"], before: Float[Tensor, "n t t"] | None) -> Tensor:
        """Compute the relevance behind a block."""


def _times(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


@register_explainer
class Rollout(_Product):
    """The product over blocks of the pattern, mean over heads, plus the identity, with rows that sum to one.

    The map is the same for every direction. Negative weights, which heads that are mixed behind the softmax (CaiT) may
    have, count as zero.

    References:
        Abnar and Zuidema, arXiv 2005.00928.
    """

    name: ClassVar[str] = "rollout"
    reach: ClassVar[Reach] = Reach.NOWHERE

    def weights(self, patterns: Patterns, direction: int) -> Mapping[int, Float[Tensor, "n pattern"]]:
        """Return the patterns."""
        return {number: patterns.pattern(number).clamp_min(0) for number in patterns.run.patterns}

    def multiplied(self, matrix: Float[Tensor, "n t t"], before: Float[Tensor, "n t t"] | None) -> Tensor:
        """Compute (A + I) R, with rows that sum to one."""
        mixed = matrix + torch.eye(matrix.shape[-1]).to(matrix)
        mixed = mixed / mixed.sum(-1, keepdim=True)
        return mixed if before is None else mixed @ before


@register_explainer
class Chefer(_Product):
    """R = I; for each block R += mean over heads of (G A)+ applied to R, with G the gradient with respect to A.

    References:
        Chefer et al., Generic attention-model explainability, arXiv 2103.15679.
    """

    name: ClassVar[str] = "chefer"

    def weights(self, patterns: Patterns, direction: int) -> Mapping[int, Float[Tensor, "n pattern"]]:
        """Compute (G A)+."""
        gradients = patterns.gradients(direction)
        return {number: (g * patterns.pattern(number)).clamp_min(0) for number, g in gradients.items()}

    def multiplied(self, matrix: Float[Tensor, "n t t"], before: Float[Tensor, "n t t"] | None) -> Tensor:
        """Compute R + M R."""
        before = torch.eye(matrix.shape[-1]).to(matrix).expand_as(matrix) if before is None else before
        return before + matrix @ before
