"""What an edit does to the tokens of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Action: TypeAlias = Literal["remove", "replace", "swap"]
Masks: TypeAlias = "Sequence[Bool[Tensor, 'n token']]"


def remove(x: Float[Tensor, "n token d"], masks: Masks, other: Tensor | None) -> Float[Tensor, "n token d"]:
    """Set tokens to zero, as INViTE does."""
    return x.masked_fill(masks[0][..., None], 0)


def replace(x: Float[Tensor, "n token d"], masks: Masks, other: Tensor | None) -> Float[Tensor, "n token d"]:
    """Put the tokens of other images, one or n, in the place of those of the same numbers."""
    assert other is not None
    return torch.where(masks[0][..., None], other, x)


def swap(x: Float[Tensor, "n token d"], masks: Masks, other: Tensor | None) -> Float[Tensor, "n token d"]:
    """Exchange two sets of tokens of each image, in their order; of the smaller set, tokens are taken in turns.

    An image in which one of the sets is empty stays as it is.
    """
    found = x.clone()
    for row in range(len(x)):
        a, b = (mask[row].nonzero()[:, 0] for mask in masks)
        if len(a) and len(b):
            found[row, a] = x[row, b[torch.arange(len(a), device=a.device) % len(b)]]
            found[row, b] = x[row, a[torch.arange(len(b), device=b.device) % len(a)]]
    return found


ACTIONS: Mapping[Action, Callable[[Tensor, Masks, Tensor | None], Tensor]] = MappingProxyType(
    {"remove": remove, "replace": replace, "swap": swap}
)
"""What becomes of the tokens of n images, by the tokens that are selected and those of other images."""
