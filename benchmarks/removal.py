"""What benchmarks of edits share: patches chosen by texts or by heatmaps, and removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

import vitdecomp as vd
from vitdecomp import Decomposer, SpecError
from vitdecomp.heatmaps import explain_each

METHODS = ("raw-attention", "attention-gradcam", "rollout", "chefer", "legrad", "decompose")
FRACTIONS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # of the patches, those of the largest saliency


def saliency(dec: Decomposer, images: Tensor, directions: Tensor, methods: Sequence[str]) -> dict[str, Tensor]:
    """Return heatmaps of one direction of each image by each method, `(n, patch)`."""
    maps = explain_each(dec, images, directions[:, None], methods)
    return {name: each.grid[:, 0].flatten(1) for name, each in maps.items()}


def refused(dec: Decomposer, image: Tensor, direction: Tensor, methods: Sequence[str]) -> Mapping[str, str]:
    """Return the methods that cannot explain the model, or have another grid than its tokens, with the reason."""
    patches, found = sum(are_patches(dec, image)), {}
    for name in methods:
        try:
            grid = saliency(dec, image[None], direction[None], [name])[name]
        except SpecError as error:
            found[name] = str(error)
        else:
            if grid.shape[1] != patches:
                found[name] = f"its map has {grid.shape[1]} patches, the tokens of the last block {patches}"
    return found


def are_patches(dec: Decomposer, image: Tensor) -> list[bool]:
    """Check which tokens are patches."""
    return [token.kind == "patch" for token in vd.LatentTokens(dec).fit(image[None]).tokens_]


def patch_numbers(dec: Decomposer, image: Tensor) -> list[int]:
    """Return the numbers of the tokens that are patches."""
    return [i for i, patch in enumerate(are_patches(dec, image)) if patch]


def largest(x: Tensor, share: float) -> Tensor:
    """Mark the largest values of each row."""
    return x.argsort(1, descending=True).argsort(1) < round(share * x.shape[1])


def nearest(z: Tensor, vectors: Tensor) -> Tensor:
    """Return the number of the vector with the largest product."""
    return (z @ vectors.T.to(z)).argmax(-1)


def removed(dec: Decomposer, images: Tensor, patches: Tensor, layers: Sequence[int] = (0,)) -> Tensor:
    """Return representations with patches, `(n, patch)`, set to zero in front of some blocks."""
    are = torch.tensor(are_patches(dec, images[0]))
    whole = torch.zeros(len(images), len(are), dtype=torch.bool)
    whole[:, are] = patches
    return vd.edit_tokens(dec, remove=whole, layers=layers)(images)
