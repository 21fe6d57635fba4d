"""From second moments to the score of a component for a feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float64
from torch import Tensor

from vitdecomp.score.sums import Moments, Sums

Measure = Callable[[Moments], Float64[Tensor, "*batch component"]]


def mean(m: Moments) -> Float64[Tensor, "*batch component"]:
    """Average over the directions the correlation of a component's projection with the total's.

    This is the score of Balasubramanian et al. (arXiv 2406.01583); a direction in which nothing varies gives 0.
    """
    return _ratio(m.cross, (m.own * m.total[..., None, :]).sqrt()).mean(-1)


def pooled(m: Moments) -> Float64[Tensor, "*batch component"]:
    """Correlate over all directions at once: sum of covariances / root of the product of summed variances.

    It depends on what the directions span, and not on the basis of it.
    """
    return _ratio(m.cross.sum(-1), (m.own.sum(-1) * m.total.sum(-1)[..., None]).sqrt())


def share(m: Moments) -> Float64[Tensor, "*batch component"]:
    """Divide a component's summed covariances with the total by the total's summed variances.

    Shares of all components add up to 1, and those of the units of a component to its own: a component scores by how
    much of what varies along the directions it is, and not by how alike it is. What works against the rest is negative.
    """
    return _ratio(m.cross.sum(-1), m.total.sum(-1)[..., None])


MEASURES: Mapping[str, Measure] = MappingProxyType({"mean": mean, "pooled": pooled, "share": share})
# What correlations are multiplied by, for n images.
NORMALIZATIONS: Mapping[str, Callable[[int], float]] = MappingProxyType(
    {"consistent": lambda n: 1.0, "published": lambda n: (n - 1) / n}
)


@dataclass(frozen=True, slots=True)
class Score:
    """How components are scored.

    Attributes:
        measure: a name in `MEASURES`. factor: what it is multiplied by.
        moving: which components are scored at all; the others have 0, `(component,)`.
    """

    measure: str
    factor: float
    moving: Bool[np.ndarray, " component"]

    def __call__(self, moments: Moments) -> Float64[np.ndarray, "*batch component"]:
        """From the moments of projections on a feature's directions."""
        found: Float64[np.ndarray, "*batch component"] = np.where(
            self.moving, self.factor * MEASURES[self.measure](moments).numpy(), 0.0
        )
        return found

    def of(self, sums: Sums, rows: Float64[Tensor, "k r"]) -> Float64[np.ndarray, " component"]:
        """For a feature with some directions."""
        return self(sums.along(rows))


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """Compute a / b, and 0 where b is 0."""
    return (a / b.where(b > 0, 1)).where(b > 0, 0)
