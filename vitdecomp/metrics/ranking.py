"""Ranking: the pixels of each image in the order of its heatmap, equal values together."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64


class Ranking:
    """Pixels ranked by a heatmap, the largest first; where values are equal, they count together.

    Args:
        values: of the heatmap, `(n, pixel)`; what is `-inf` stands behind all others.
        inside: which pixels are positive, `(n, pixel)`.
    """

    def __init__(self, values: Float64[np.ndarray, "n pixel"], inside: Bool[np.ndarray, "n pixel"]) -> None:
        n, pixels = values.shape
        order = np.argsort(-values, axis=1, kind="stable")
        ranked = np.take_along_axis(values, order, 1)
        self._true = np.take_along_axis(inside, order, 1)
        change = ranked[:, 1:] != ranked[:, :-1]
        edge = np.ones((n, 1), dtype=bool)
        place = np.arange(pixels)
        self._first = np.maximum.accumulate(np.where(np.hstack([edge, change]), place, 0), axis=1)
        backwards = np.where(np.hstack([change, edge]), place, pixels)[:, ::-1]
        self._last = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
        none = np.zeros((n, 1), dtype=np.int64)
        self._found = np.hstack([none, self._true.cumsum(axis=1)])  # positive, among the first 0, 1, ...
        self.size = self._found[:, -1]

    def average_precision(self) -> Float64[np.ndarray, " n"]:
        """Compute average precision; NaN where no pixel is positive.

        AP = sum over thresholds of (R_t - R_(t-1)) P_t, as in scikit-learn's `average_precision_score`.
        """
        precision = np.take_along_axis(self._found, self._last + 1, 1) / (self._last + 1)
        total = (precision * self._true).sum(axis=1)
        result: Float64[np.ndarray, " n"] = np.full(len(total), np.nan)
        np.divide(total, self.size, out=result, where=self.size > 0)
        return result

    def iou(self) -> Float64[np.ndarray, " n"]:
        """Compute the IoU of as many of the first pixels as are positive, of which each image has at least one."""
        at = (self.size - 1)[:, None]  # the last pixel that is kept, and the pixels equal to it
        above, until = np.take_along_axis(self._first, at, 1), np.take_along_axis(self._last, at, 1) + 1
        before, after = np.take_along_axis(self._found, above, 1), np.take_along_axis(self._found, until, 1)
        common = (before + (after - before) * (at + 1 - above) / (until - above))[:, 0]
        result: Float64[np.ndarray, " n"] = common / (2 * self.size - common)
        return result
