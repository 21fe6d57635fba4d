"""Accuracies of groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GroupAccuracy:
    """How often a classifier is right.

    Attributes:
        groups: for each group that has images.
        average: over images.
    """

    groups: dict[int, float]
    average: float

    @property
    def worst(self) -> float:
        """That of the group for which it is least often right."""
        return min(self.groups.values())

    @classmethod
    def of(
        cls, logits: Float[Tensor, "n class"], labels: Int64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"]
    ) -> GroupAccuracy:
        """Of logits of images of known classes and groups."""
        right = logits.argmax(1).cpu().numpy() == labels
        return cls({int(g): float(right[groups == g].mean()) for g in np.unique(groups)}, float(right.mean()))
