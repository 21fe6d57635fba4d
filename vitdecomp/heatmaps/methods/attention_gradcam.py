"""`attention-gradcam`: the last block's heads, each weighted by its mean gradient."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from vitdecomp.attention.attentions import Attentions
from vitdecomp.heatmaps.explainer import register_explainer
from vitdecomp.heatmaps.methods.from_attention import FromAttention, Layer, Patterns, on_grid


@register_explainer
class AttentionGradCam(FromAttention):
    """(mean over heads of w_h A_h)+ with w_h the mean of the gradient with respect to A_h, over the queries read.

    References:
        The baseline of Chefer et al., arXiv 2012.09838.
    """

    name: ClassVar[str] = "attention-gradcam"

    def reads(self, attentions: Attentions) -> Collection[int]:
        """Return the last one."""
        return (len(attentions.each) - 1,)

    def layers(self, patterns: Patterns, direction: int) -> Sequence[Layer]:
        """One layer."""
        number = len(patterns.each) - 1
        attention, gradient = patterns.each[number], patterns.gradients(direction)[number]
        heads, read = attention.heads.flatten(), attention.read.flatten()
        count = gradient.new_zeros(int(heads.max()) + 1).index_add_(0, heads[read], gradient.new_ones(int(read.sum())))
        weights = gradient.new_zeros((len(gradient), len(count))).index_add_(1, heads[read], gradient[:, read]) / count
        weighted = weights[:, heads] * patterns.pattern(number)
        cells = attention.by_key(weighted, attention.read)[:, None]
        return [Layer(attention.module, on_grid(attention, cells).clamp_min(0))]
