"""Whether a sum of components finds the images alike that the whole does in one feature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

NEAR = 0.01  # how much worse than the best is still as good


class Agreement:
    """How far sums of components find the images alike that the total does in a feature.

    It is the linear centered kernel alignment |S^T T|^2 / (|S^T S| |T^T T|) (Kornblith et al., arXiv 1905.00414) of S,
    a sum in all coordinates, with T, the total in the directions of the feature: from 0 to 1, and what S shows of
    anything else counts against it.

    Args:
        x: contributions to some images, in coordinates of what all texts span.
        rows: the directions of the feature.
    """

    def __init__(self, x: Float64[Tensor, "n component r"], rows: Float64[Tensor, "k r"]) -> None:
        self.x = x - x.mean(0)
        self.target = self.x.sum(1) @ rows.T
        self.size = (self.target.mT @ self.target).norm()

    def of(self, summed: Float64[Tensor, "*batch n r"]) -> Float64[Tensor, "*batch"]:
        """Of sums that are given, centered."""
        shared = (summed.mT @ self.target).square().sum((-2, -1))
        scale = torch.linalg.matrix_norm(summed.mT @ summed) * self.size
        agreed: Tensor = (shared / scale.where(scale > 0, 1)).where(scale > 0, 0)
        return agreed

    def curve(self, order: Sequence[int]) -> Float64[np.ndarray, " chosen"]:
        """Of the first 1, 2, ... components of an order."""
        summed, found = torch.zeros_like(self.x[:, 0]), []
        for i in order:
            summed = summed + self.x[:, i]
            found.append(float(self.of(summed)))
        return np.array(found)

    def greedy(self, among: Sequence[int], k: int | None = None) -> list[int]:
        """Components of which each makes the sum of those before it agree most: k, or until none adds to it."""
        left, chosen = list(among), list[int]()
        summed, reached = torch.zeros_like(self.x[:, 0]), 0.0
        while left and (k is None or len(chosen) < k):
            agreed = self.of((summed[:, None] + self.x[:, left]).transpose(0, 1))
            best = int(agreed.argmax())
            if k is None and float(agreed[best]) <= reached:
                break
            reached = float(agreed[best])
            chosen.append(left.pop(best))
            summed = summed + self.x[:, chosen[-1]]
        return chosen


def cross_validated(curve: Float64[np.ndarray, " chosen"]) -> int:
    """Find the fewest components whose sum agrees as well as the best number of them."""
    return int(np.argmax(curve >= curve.max() * (1 - NEAR))) + 1
