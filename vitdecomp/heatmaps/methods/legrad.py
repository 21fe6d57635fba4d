"""`legrad`: how each attention has to change for its block's tokens to look more like the direction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

import torch
from torch import fx
from torch.nn.functional import cosine_similarity

from vitdecomp.attention.attentions import Attentions, Reach
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.explainer import register_explainer
from vitdecomp.heatmaps.methods.from_attention import FromAttention, Layer, Patterns, on_grid

PRESETS = {"paper": None, "code": 2}
"""Which layers are summed: all, or the last two as in the public code."""


@register_explainer
class LeGrad(FromAttention):
    """The sum over blocks of mean over heads and queries of (d s_l / d A_l)+.

    s_l is the cosine of the direction with what the model makes of the mean of the tokens behind block l, with the
    later blocks left out. In hierarchical models these tokens go on through patch merging alone, and blocks that
    change the number of tokens or channels stay whole. Where attention pools the tokens (SigLIP), s_l is the cosine
    with the pool's output for the tokens behind block l, and A_l the pool's pattern. Behind and in front of class
    attention (CaiT) the tokens are the patches and the class token, as it is at that depth.

    Args:
        preset: `paper`: all blocks; `code`: the last two, as in the public code.
        layers: how many of the last blocks, in place of the preset's.

    References:
        LeGrad, arXiv 2404.03214, section 3; code 1.1.
    """

    name: ClassVar[str] = "legrad"
    has_layers: ClassVar[bool] = True
    reach: ClassVar[Reach] = Reach.BLOCK

    def __init__(self, preset: str = "paper", layers: int | None = None) -> None:
        if preset not in PRESETS:
            raise SpecError(f"legrad: preset must be {' or '.join(PRESETS)}, not {preset!r}")
        if layers is not None and layers < 1:
            raise SpecError(f"legrad: layers must be a positive number, not {layers}")
        self.preset, self.last = preset, PRESETS[preset] if layers is None else layers

    def reads(self, attentions: Attentions) -> Collection[int]:
        """Return those of its blocks; an attention that pools is written out behind them."""
        blocks = self._blocks(attentions)
        return () if attentions.pools else {i for b in blocks for i in attentions.within(attentions.blocks[b])}

    def _blocks(self, attentions: Attentions) -> Sequence[int]:
        return range(len(attentions.blocks))[-(self.last or 0) :]

    def wanted(self, attentions: Attentions) -> Collection[fx.Node]:
        """Return what its blocks return, and what else the model behind them reads of the blocks before."""
        tails = (attentions.tails[number] for number in self._blocks(attentions))
        return {node for tail in tails for node in tail.given & tail.needed}

    def layers(self, patterns: Patterns, direction: int) -> Sequence[Layer]:
        """One map for each attention, by the name of its block."""
        q, attentions, found = patterns.directions[:, direction], patterns.attentions, []
        for number in self._blocks(attentions):
            block, behind = attentions.blocks[number], patterns.behind(number)
            with torch.enable_grad():
                score = cosine_similarity(behind.output, q, dim=1).sum()
            places = [len(patterns.each) - 1] if attentions.pools else attentions.within(block)
            asked = [(behind if attentions.pools else patterns.run).patterns[i] for i in places]
            for place, gradient in zip(places, torch.autograd.grad(score, asked, retain_graph=True), strict=True):
                attention = patterns.each[place]
                heads = attention.by_head(patterns.flat(place, gradient).clamp_min(0))
                found.append(Layer(block.path, on_grid(attention, heads), attentions.heads(place)))
        return found
