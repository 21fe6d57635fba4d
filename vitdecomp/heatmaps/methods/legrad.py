"""`legrad`: how each attention has to change for its block's tokens to look more like the direction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch.nn.functional import cosine_similarity

from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.attention import Attentions
from vitdecomp.heatmaps.explainer import register_explainer
from vitdecomp.heatmaps.methods.from_attention import FromAttention, Patterns, on_grid

PRESETS = {"paper": None, "code": 2}
"""Which layers are summed: all, or the last two as in the public code."""


@register_explainer
class LeGrad(FromAttention):
    """The sum over blocks of mean over heads and queries of (d s_l / d A_l)+.

    s_l is the cosine of the direction with what the model makes of the mean of the tokens behind block l, with the
    later blocks left out. In hierarchical models these tokens go on through patch merging alone, and blocks that
    change the number of tokens or channels stay whole. Where attention pools the tokens (SigLIP), s_l is the cosine
    with the pool's output for the tokens behind block l, and A_l the pool's pattern.

    Args:
        preset: `paper`: all blocks; `code`: the last two, as in the public code.
        layers: how many of the last blocks, in place of the preset's.

    References:
        LeGrad, arXiv 2404.03214, section 3; code 1.1.
    """

    name: ClassVar[str] = "legrad"

    def __init__(self, preset: str = "paper", layers: int | None = None) -> None:
        if preset not in PRESETS:
            raise SpecError(f"legrad: preset must be {' or '.join(PRESETS)}, not {preset!r}")
        self.preset, self.last = preset, PRESETS[preset] if layers is None else layers

    def wanted(self, attentions: Attentions) -> Collection[fx.Node]:
        """Return what every block returns."""
        return {block.output for block in attentions.blocks}

    def layers(self, patterns: Patterns, direction: int) -> Sequence[Float[Tensor, "n h w"]]:
        """One map for each block."""
        q, pools = patterns.directions[:, direction], patterns.attentions.pools
        found = []
        for number in [*range(len(patterns.attentions.blocks))][-(self.last or 0) :]:
            behind = patterns.behind(number)
            with torch.enable_grad():
                score = cosine_similarity(behind.output, q, dim=1).sum()
            place = len(patterns.each) - 1 if pools else number
            pattern = behind.patterns[-1] if pools else patterns.run.patterns[number]
            (gradient,) = torch.autograd.grad(score, [pattern], retain_graph=True)
            attention = patterns.each[place]
            found.append(on_grid(attention, attention.by_key(patterns.flat(place, gradient).clamp_min(0))))
        return found
