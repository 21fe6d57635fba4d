"""Bootstrap over images in one pass: how far scores move when other images are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vitdecomp.score.measures import Score
from vitdecomp.score.sums import Moments


class Bootstrap:
    """Moments of projections under random weights of the images.

    Every image counts Poisson(1) times in each replicate, which needs no second look at it (Oza and Russell, 2001;
    Chamandy et al., "Estimating Uncertainty for Massive Data Streams", 2012).

    Args:
        replicates: how many. components, directions: how many. seed: of the weights; image after image, they do not
            depend on how images are put into batches.
    """

    def __init__(self, replicates: int, components: int, directions: int, *, seed: int) -> None:
        self.source = np.random.default_rng([seed, 3])
        self.replicates, self.components, self.directions = replicates, components, directions
        self.weight = torch.zeros(replicates, dtype=torch.float64)
        self.sums = torch.zeros(replicates, 3 * components + 2, directions, dtype=torch.float64)
        self.origin: Tensor | None = None

    def add(self, x: Float64[Tensor, "n component k"]) -> None:
        """Take the projections of a batch in."""
        if not self.replicates or not len(x):
            return
        if self.origin is None:
            self.origin = x.mean(0)  # any point nearby keeps the digits that squares of a large mean would cost
        x = x - self.origin
        t = x.sum(1, keepdim=True)
        weights = torch.from_numpy(self.source.poisson(1.0, (len(x), self.replicates))).to(x)
        products = torch.cat([x, x * x, x * t, t, t * t], dim=1).flatten(1)
        self.sums += (weights.T @ products).reshape(self.sums.shape)
        self.weight += weights.sum(0)

    def moments(self) -> Moments:
        """Those of all replicates, `(replicate, component, k)` and `(replicate, k)`."""
        c = self.components
        scale = self.weight.clamp(min=1)[:, None, None]
        x, xx, xt, t, tt = torch.split(self.sums / scale, [c, c, c, 1, 1], dim=1)
        return Moments(xt - x * t, (xx - x * x).clamp(min=0), (tt - t * t).clamp(min=0)[:, 0])

    def intervals(
        self, score: Score, sizes: Sequence[int], confidence: float
    ) -> Float64[np.ndarray, "feature component 2"]:
        """Between which ends that share of the replicates' scores lies; NaN without replicates.

        Args:
            score: how components are scored.
            sizes: how many of the directions each feature has.
            confidence: the share.
        """
        if not self.replicates:
            return np.full((len(sizes), self.components, 2), np.nan)
        whole = self.moments()
        parts = [torch.split(m, list(sizes), dim=-1) for m in (whole.cross, whole.own, whole.total)]
        found = np.stack([score(Moments(*some)) for some in zip(*parts, strict=True)])
        ends = [(1 - confidence) / 2, (1 + confidence) / 2]
        return np.moveaxis(np.quantile(found, ends, axis=1), 0, -1)
