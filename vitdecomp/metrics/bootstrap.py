"""Bootstrap over images: how far a measure moves when other images are drawn.

References:
    Percentile bootstrap: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from vitdecomp.errors import InputError

CHUNK = 2**22  # weights that are held at once


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure and how far it moves when other images are drawn.

    Attributes:
        value: the measure; NaN if nothing defines it.
        low, high: the ends of the interval; NaN without replicates.
        n: the maps that define it.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How images are drawn with replacement.

    Equal seeds draw the same of equally many images, so that methods can be compared in pairs.

    Args:
        replicates: how many times; 0 for none.
        seed: of the draws.
        confidence: share of the replicates between the ends of an interval.

    Raises:
        InputError: a negative number of replicates, or a share that is none.
    """

    replicates: int = 1000
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.replicates < 0:
            raise InputError(f"bootstrap = {self.replicates}; give the number of replicates, or 0 for none")
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence = {self.confidence}; give a share between 0 and 1")

    def draws(self, images: Sequence[str]) -> Iterator[Float64[np.ndarray, "b n"]]:
        """Yield how often each map counts in each replicate, in chunks that fit into memory.

        Args:
            images: the image that each map is of; all maps of one are drawn together.
        """
        groups = _groups(images)
        count, source = int(groups.max()) + 1, np.random.default_rng(self.seed)
        step = max(1, CHUNK // len(groups))
        for start in range(0, self.replicates, step):
            b = min(step, self.replicates - start)
            drawn = source.multinomial(count, np.full(count, 1 / count), size=b)
            yield drawn[:, groups].astype(np.float64)

    def ends(self, chunks: Sequence[Float64[np.ndarray, " b"]]) -> tuple[float, float]:
        """Return the ends of the interval of a measure's replicates; NaN where none defines it."""
        drawn = np.concatenate([np.empty(0), *chunks])
        defined = drawn[np.isfinite(drawn)]
        if not len(defined):
            return float("nan"), float("nan")
        low, high = np.quantile(defined, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return float(low), float(high)

    def mean(self, values: Float64[np.ndarray, " n"], images: Sequence[str] | None = None) -> Estimate:
        """Average what is defined of the values of maps, such as one of `FAITHFULNESS`.

        Args:
            values: of each map, `(n,)`; NaN where it is not defined.
            images: the image that each map is of, if there may be several of one.

        Raises:
            InputError: no values, or names for another number of maps.
        """
        names = [str(i) for i in range(len(values))] if images is None else images
        if not len(values) or len(names) != len(values):
            raise InputError(f"{len(values)} values and {len(names)} names of images; give one for each map")
        whole = weighted_mean(values, np.ones((1, len(values))))
        ends = self.ends([weighted_mean(values, weights) for weights in self.draws(names)])
        return Estimate(float(whole[0]), *ends, int(np.isfinite(values).sum()))


def weighted_mean(values: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
    """Average what is defined, for b weightings; NaN where nothing with a weight is."""
    defined = np.isfinite(values)
    return ratio(weights[:, defined] @ values[defined], weights[:, defined].sum(axis=1))


def ratio(
    above: Float64[np.ndarray, "*b"], below: Float64[np.ndarray, "*b"] | Int64[np.ndarray, "*b"]
) -> Float64[np.ndarray, "*b"]:
    """Divide; NaN where there is nothing to divide by."""
    result: Float64[np.ndarray, "*b"] = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return result


def _groups(images: Sequence[str]) -> Int64[np.ndarray, " n"]:
    """Give the images numbers, in the order in which they come."""
    place = {name: i for i, name in enumerate(dict.fromkeys(images))}
    return np.array([place[name] for name in images], dtype=np.int64)
