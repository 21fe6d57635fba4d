"""The role of a component: the feature that the words speak of which can best be read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

VOTERS = 1 / 3  # the share of the texts, the best read, that vote
CLEAR = 0.5  # share of the votes from which on a role is clear


@dataclass(frozen=True, slots=True)
class Role:
    """What a component sees, in one word.

    Attributes:
        feature: the feature with the most votes.
        confidence: its share of all votes, from 0 to 1.
        clear: whether it has half of the votes, and the component's first text beats the control.
    """

    feature: str
    confidence: float
    clear: bool


def votes(r2: Float[Tensor, " t"], features: Sequence[str]) -> Mapping[str, float]:
    """Let the best read third of the texts vote for their features, each with its R^2.

    One text is chosen among many, and its R^2 may be the largest by chance or because it resembles a text of another
    feature. What many texts of a feature say together is more stable.

    Args:
        r2: held-out R^2 of each text.
        features: what each speaks of.

    Returns:
        The share of the votes that each feature has; all are zero where nothing can be read.
    """
    count = max(1, round(VOTERS * len(r2)))
    best = r2.topk(count)
    names = list(dict.fromkeys(features))
    places = torch.tensor([names.index(feature) for feature in features])
    sums = r2.new_zeros(len(names)).index_add_(0, places[best.indices], best.values.clamp(min=0))
    return dict(zip(names, (sums / sums.sum().clamp(min=torch.finfo(sums.dtype).tiny)).tolist(), strict=True))


def role(shares: Mapping[str, float], *, named: bool) -> Role:
    """Take the feature with the most votes."""
    feature = max(shares, key=shares.__getitem__)
    return Role(feature, shares[feature], named and shares[feature] >= CLEAR)
