"""What benchmarks of edits share: patches chosen by texts or by heatmaps, and removed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import vitdecomp as vd
from vitdecomp import Decomposer
from vitdecomp.heatmaps import explain_each

METHODS = ("raw-attention", "attention-gradcam", "rollout", "chefer", "legrad", "decompose")
FRACTIONS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # of the patches, those of the largest saliency


def saliency(dec: Decomposer, images: Tensor, directions: Tensor, methods: Sequence[str]) -> dict[str, Tensor]:
    """Return heatmaps of one direction of each image by each method, `(n, patch)`."""
    maps = explain_each(dec, images, directions[:, None], methods)
    return {name: each.grid[:, 0].flatten(1) for name, each in maps.items()}


def largest(x: Tensor, share: float) -> Tensor:
    """Mark the largest values of each row."""
    return x.argsort(1, descending=True).argsort(1) < round(share * x.shape[1])


def nearest(z: Tensor, vectors: Tensor) -> Tensor:
    """Return the number of the vector with the largest product."""
    return (z @ vectors.T.to(z)).argmax(-1)


def removed(dec: Decomposer, images: Tensor, patches: Tensor, layers: Sequence[int] = (0,)) -> Tensor:
    """Return representations with patches, `(n, patch)`, set to zero in front of some blocks."""
    others = len(dec.tokens_) - patches.shape[1]  # class and register tokens come first
    whole = torch.cat([torch.zeros(len(images), others, dtype=torch.bool), patches], 1)
    return vd.edit_tokens(dec, remove=whole, layers=layers)(images)
