"""The best of many scores, some images at a time."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Nearest:
    """The k largest scores for each query so far, and the rows that have them; equals in the order of their rows.

    Args:
        queries: how many.
        k: how many rows for each.
        dtype: of the scores.
    """

    def __init__(self, queries: int, k: int, dtype: torch.dtype) -> None:
        self.k = k
        self.scores: Float[Tensor, "query k"] = torch.empty(queries, 0, dtype=dtype)
        self.rows: Int64[Tensor, "query k"] = torch.empty(queries, 0, dtype=torch.long)

    def add(self, scores: Float[Tensor, "query block"], first: int) -> None:
        """Look at the scores of consecutive rows, which follow those seen before."""
        best, places = _largest(scores, self.k)
        self.scores, order = _largest(torch.cat([self.scores, best], 1), self.k)
        self.rows = torch.cat([self.rows, places + first], 1).gather(1, order)


def _largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k largest of each row and their places; of equal ones those that come first."""
    k = min(k, scores.shape[1])
    best, places = scores.topk(k, dim=1)
    if k and bool(((scores >= best[:, -1:]).sum(1) > k).any()):  # topk may take any of those that are equal
        best, places = (found[:, :k] for found in scores.sort(dim=1, descending=True, stable=True))
    order = places.argsort(dim=1)
    best, places = best.gather(1, order), places.gather(1, order)
    best, order = best.sort(dim=1, descending=True, stable=True)
    return best, places.gather(1, order)
