"""What an edit does to the tokens of a layer."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Action: TypeAlias = "Literal['remove', 'replace', 'swap']"


def remove(x: Float[Tensor, "n token d"], mask: Bool[Tensor, "n token"]) -> Float[Tensor, "n token d"]:
    """Set tokens to zero, as INViTE does."""
    return x.masked_fill(mask[..., None], 0)


def replace(
    x: Float[Tensor, "n token d"], mask: Bool[Tensor, "n token"], other: Float[Tensor, "n token d"]
) -> Float[Tensor, "n token d"]:
    """Put the tokens of other images in the place of those of the same numbers."""
    return torch.where(mask[..., None], other, x)


def swap(
    x: Float[Tensor, "n token d"], first: Bool[Tensor, "n token"], second: Bool[Tensor, "n token"]
) -> Float[Tensor, "n token d"]:
    """Exchange two sets of tokens of each image, in their order; of the smaller set, tokens are taken in turns.

    An image in which one of the sets is empty stays as it is.
    """
    found = x.clone()
    for row in range(len(x)):
        a, b = (mask[row].nonzero()[:, 0] for mask in (first, second))
        if len(a) and len(b):
            found[row, a] = x[row, b[torch.arange(len(a), device=a.device) % len(b)]]
            found[row, b] = x[row, a[torch.arange(len(b), device=b.device) % len(a)]]
    return found
