"""`raw-attention`: where the last block attends to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from vitdecomp.attention.attentions import Attentions, Reach
from vitdecomp.heatmaps.explainer import register_explainer
from vitdecomp.heatmaps.methods.from_attention import FromAttention, Layer, Patterns, on_grid


@register_explainer
class RawAttention(FromAttention):
    """The last attention's pattern, mean over heads and over the queries that the representation reads.

    In a class-token model that is the class token's row. The map is the same for every direction.
    """

    name: ClassVar[str] = "raw-attention"
    reach: ClassVar[Reach] = Reach.NOWHERE

    def reads(self, attentions: Attentions) -> Collection[int]:
        """Return the last one."""
        return (len(attentions.each) - 1,)

    def layers(self, patterns: Patterns, direction: int) -> Sequence[Layer]:
        """One layer."""
        number = len(patterns.each) - 1
        attention = patterns.each[number]
        heads = on_grid(attention, attention.by_head(patterns.pattern(number), attention.read))
        return [Layer(attention.module, heads, patterns.attentions.heads(number))]
