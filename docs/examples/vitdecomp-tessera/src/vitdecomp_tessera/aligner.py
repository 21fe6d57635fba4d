"""The aligner: one map for all components, by ridge regression of the other model's vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from vitdecomp_alignment import LinearMaps
from vitdecomp_alignment.aligners.linear import LinearAligner, check_target

from vitdecomp.errors import SpecError
from vitdecomp.sources.aligner import register_aligner
from vitdecomp.sources.source import Source


@register_aligner("ridge")
class Ridge(LinearAligner):
    """W = (X^T X + l I)^-1 X^T Y, with the representations X and the other model's vectors Y of the same images.

    Args:
        strength: l, relative to the mean square of a coordinate.
        batch_size: images read at a time.
        random_state: every aligner has one; here nothing is random.
    """

    def __init__(self, *, strength: float = 1e-3, batch_size: int = 256, random_state: int = 0) -> None:
        self.strength, self.batch_size, self.random_state = strength, batch_size, random_state

    def fit(self, source: Source, target: Tensor, *, progress: Callable[[int, int], None] | None = None) -> Ridge:
        """Learn the map; the source may be larger than the memory, and is read in parts.

        Raises:
            InputError: not of the same images, or too few. SpecError: a strength that is not positive.
        """
        check_target(source, target)
        if self.strength <= 0:
            raise SpecError(f"strength must be positive, not {self.strength}")
        n, d = len(source), source.dimension
        squares = torch.zeros(d, d, dtype=torch.float64)
        cross = torch.zeros(d, target.shape[1], dtype=torch.float64)
        for start in range(0, n, self.batch_size):
            rows = range(start, min(start + self.batch_size, n))
            x, y = source.take(rows).total().double(), target[rows.start : rows.stop].double()
            squares += x.T @ x
            cross += x.T @ y
            if progress is not None:
                progress(rows.stop, n)
        penalty = self.strength * squares.diagonal().mean() * torch.eye(d, dtype=torch.float64)
        self.maps_ = LinearMaps(source.components, torch.linalg.solve(squares + penalty, cross).float())
        self.metrics_, self.fingerprint_ = {}, source.fingerprint()
        self.origin_ = source.take([0]).origin
        return self
