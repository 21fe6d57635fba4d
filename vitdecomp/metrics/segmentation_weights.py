"""How measures of a set follow from its maps, and the draws of the bootstrap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from vitdecomp.metrics.bootstrap import ratio, weighted_mean
from vitdecomp.metrics.protocols import Protocol
from vitdecomp.metrics.segmentation_rows import SegmentationRows

MEASURES = ("pixel_accuracy", "miou", "average_precision", "pointing", "inside")


@dataclass(frozen=True, slots=True)
class WeightedMeasures:
    """Every measure of a set, for any weights of its maps.

    Attributes:
        protocol: by which the maps were measured.
        order: the maps, those of one class together. starts: where each class begins in that order.
        counts: of each map. means: what is averaged over maps, by the measure's name.
    """

    protocol: Protocol
    order: Int64[np.ndarray, " n"]
    starts: Int64[np.ndarray, " k"]
    counts: Float64[np.ndarray, "n 4"]
    means: Mapping[str, Float64[np.ndarray, " n"]]

    @classmethod
    def of(cls, rows: SegmentationRows, protocol: Protocol) -> WeightedMeasures:
        """Take the rows of a set."""
        order = np.argsort(np.array(rows.classes), kind="stable")
        _, starts = np.unique(np.array(rows.classes)[order], return_index=True)
        counts = rows.counts.astype(np.float64)
        means = {"average_precision": rows.average_precision, "pointing": rows.pointing, "inside": rows.inside}
        if protocol.average == "image":
            means |= {"pixel_accuracy": _accuracy(counts), "miou": _iou(counts, protocol)}
        return cls(protocol, order, starts, counts, means)

    def weighted(self, weights: Float64[np.ndarray, "b n"]) -> dict[str, Float64[np.ndarray, " b"]]:
        """Compute every measure for b weightings of the maps; NaN where nothing with a weight defines it."""
        found = {name: weighted_mean(values, weights) for name, values in self.means.items()}
        if self.protocol.average != "image":
            pooled = weights @ self.counts
            found |= {"pixel_accuracy": _accuracy(pooled), "miou": _iou(pooled, self.protocol)}
        if self.protocol.average == "class":
            each = weights[:, self.order, None] * self.counts[self.order]
            iou = _iou(np.add.reduceat(each, self.starts, axis=1), self.protocol)
            found["miou"] = ratio(np.nansum(iou, axis=1), np.isfinite(iou).sum(axis=1))
        return found

    def counted(self) -> dict[str, int]:
        """Count the maps that define each measure."""
        annotated = int(self.counts.any(axis=1).sum())
        return {m: int(np.isfinite(self.means[m]).sum()) if m in self.means else annotated for m in MEASURES}


def _accuracy(counts: Float64[np.ndarray, "*b 4"]) -> Float64[np.ndarray, "*b"]:
    return ratio(counts[..., 0] + counts[..., 3], counts.sum(axis=-1))


def _iou(counts: Float64[np.ndarray, "*b 4"], protocol: Protocol) -> Float64[np.ndarray, "*b"]:
    """IoU of the foreground, or its mean with that of the background; NaN where a class is neither there nor found."""
    true, false, missed, background = np.moveaxis(counts, -1, 0)
    found = ratio(true, true + false + missed)
    if protocol.classes == "foreground":
        return found
    both = np.stack([found, ratio(background, background + false + missed)])
    return ratio(np.nansum(both, axis=0), np.isfinite(both).sum(axis=0))
