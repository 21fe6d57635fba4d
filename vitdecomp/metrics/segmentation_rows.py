"""What segmentation measures need of each image: counts of pixels, and what has no counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64

from vitdecomp.metrics.protocols import Protocol
from vitdecomp.metrics.ranking import Ranking

COUNTS = ("TP", "FP", "FN", "TN")


@dataclass(frozen=True, slots=True)
class SegmentationRows:
    """Measures of each map, `(n,)`.

    Attributes:
        counts: annotated pixels, `(n, 4)`: true and false positives, false and true negatives.
        average_precision, pointing, inside: as in `SegmentationResult`; NaN where they are not defined.
        classes: the class that each map is of, empty if it was not given.
        images: the image that each map is of.
    """

    counts: Int64[np.ndarray, "n 4"]
    average_precision: Float64[np.ndarray, " n"]
    pointing: Float64[np.ndarray, " n"]
    inside: Float64[np.ndarray, " n"]
    classes: tuple[str, ...]
    images: tuple[str, ...]

    def __len__(self) -> int:
        """Count the maps."""
        return len(self.counts)


def joined(parts: Sequence[SegmentationRows]) -> SegmentationRows:
    """Join the rows of several batches, of which there is at least one."""
    return SegmentationRows(
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.average_precision for part in parts]),
        np.concatenate([part.pointing for part in parts]),
        np.concatenate([part.inside for part in parts]),
        tuple(name for part in parts for name in part.classes),
        tuple(name for part in parts for name in part.images),
    )


def measure_each(
    protocol: Protocol,
    maps: Float64[np.ndarray, "n h w"],
    masks: Int8[np.ndarray, "n h w"],
    classes: Sequence[str],
    images: Sequence[str],
) -> SegmentationRows:
    """Measure each map by itself; masks are 1 for the object, 0 for the background, -1 where nothing is annotated."""
    normalized = protocol.normalized(maps)
    known, true = masks >= 0, masks == 1
    predicted = protocol.foreground(normalized)
    boxes = (predicted & true, predicted & ~true, ~predicted & true, ~predicted & ~true)
    counts = np.stack([(box & known).sum(axis=(1, 2)) for box in boxes], axis=1)
    pointing, inside = _located(maps, known, true)
    return SegmentationRows(
        counts=counts,
        average_precision=_average_precision(protocol, normalized, known, true),
        pointing=pointing,
        inside=inside,
        classes=tuple(classes),
        images=tuple(images),
    )


def _average_precision(
    protocol: Protocol,
    normalized: Float64[np.ndarray, "n h w"],
    known: Bool[np.ndarray, "n h w"],
    true: Bool[np.ndarray, "n h w"],
) -> Float64[np.ndarray, " n"]:
    """Rank the annotated pixels of each image; one image at a time, since a ranking takes ten times its memory."""
    found = np.empty(len(normalized))
    for i, (values, annotated, positive) in enumerate(zip(normalized, known, true, strict=True)):
        scores, labels = values[annotated], positive[annotated]
        if protocol.classes == "both":
            scores, labels = np.concatenate([1 - scores, scores]), np.concatenate([~labels, labels])
        alike = protocol.points and labels.all()
        found[i] = np.nan if alike or not len(labels) else Ranking(scores[None], labels[None]).average_precision()[0]
    return found


def _located(
    maps: Float64[np.ndarray, "n h w"], known: Bool[np.ndarray, "n h w"], true: Bool[np.ndarray, "n h w"]
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Pointing game and share of the positive mass inside, of the signed maps."""
    axes = (1, 2)
    seen = np.where(known, maps, -np.inf)
    best = known & (seen == seen.max(axis=axes, keepdims=True))
    positive = np.where(known, maps.clip(min=0), 0)
    mass = positive.sum(axis=axes)
    shows = true.any(axis=axes)
    pointing = (best & true).sum(axis=axes) / np.maximum(best.sum(axis=axes), 1)
    inside = (positive * true).sum(axis=axes) / np.where(mass > 0, mass, 1)
    return np.where(shows, pointing, np.nan), np.where(shows, inside, np.nan)
