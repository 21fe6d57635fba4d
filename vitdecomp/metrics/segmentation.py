"""Segmentation: how well heatmaps segment an object, by a named protocol and with bootstrap intervals.

References:
    Pixel accuracy, mIoU and AP of heatmaps: Chefer, Gur and Wolf, "Transformer Interpretability Beyond Attention
    Visualization", arXiv 2012.09838. Pointing game: Zhang et al., "Top-down Neural Attention by Excitation Backprop",
    arXiv 1608.00507.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int8, Integer
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.metrics.bootstrap import Bootstrap, Estimate
from vitdecomp.metrics.inputs import as_double, upsampled
from vitdecomp.metrics.protocols import PROTOCOLS, Protocol
from vitdecomp.metrics.segmentation_rows import SegmentationRows, joined, measure_each
from vitdecomp.metrics.segmentation_weights import MEASURES, WeightedMeasures


@dataclass(frozen=True, slots=True)
class SegmentationResult:
    """Measures of the maps of a set, by one protocol.

    Attributes:
        protocol: by which they were taken. n: how many maps. images: of how many images.
        confidence: share of the replicates between the ends of each interval.
        pixel_accuracy: share of the annotated pixels that are segmented rightly, pooled over the set (averaged over
            images if the protocol averages over them).
        miou: intersection over union, of the classes and averaged as the protocol says.
        average_precision: of the annotated pixels, ranked by the map, averaged over maps; needs no threshold.
        pointing: how often the largest annotated pixel lies on the object; of equal ones, the share that does.
        inside: share of the map's positive mass on the object; 0 where there is none.
    """

    protocol: Protocol
    n: int
    images: int
    confidence: float
    pixel_accuracy: Estimate
    miou: Estimate
    average_precision: Estimate
    pointing: Estimate
    inside: Estimate

    def estimates(self) -> dict[str, Estimate]:
        """Return each measure by its name, as the columns of a table."""
        return {name: getattr(self, name) for name in MEASURES}


class Segmentation:
    """Compare heatmaps with masks, batch by batch; the batches change nothing.

    Args:
        protocol: the protocol, or its name in `PROTOCOLS`.

    Raises:
        SpecError: an unknown protocol.
    """

    def __init__(self, protocol: Protocol | str = "imagenet-segmentation") -> None:
        self.protocol = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
        self._parts: list[SegmentationRows] = []
        self._n = 0

    def __len__(self) -> int:
        """Count the maps so far."""
        return self._n

    @property
    def rows(self) -> SegmentationRows:
        """What was measured of each map.

        Raises:
            InputError: there is none.
        """
        if not self._parts:
            raise InputError("no heatmaps were added: there is nothing to measure")
        self._parts = [joined(self._parts)]
        return self._parts[0]

    def add(
        self,
        maps: Float[Tensor, "n h w"] | Float[np.ndarray, "n h w"],
        masks: Bool[Tensor, "n height width"]
        | Bool[np.ndarray, "n height width"]
        | Integer[Tensor, "n height width"]
        | Integer[np.ndarray, "n height width"],
        *,
        classes: Sequence[str] | None = None,
        images: Sequence[str] | None = None,
    ) -> None:
        """Measure a batch of heatmaps.

        Args:
            maps: signed, larger where the object is thought to be, in any unit, `(n, h, w)`; one smaller than the masks
                is upsampled bilinearly.
            masks: where the object is, `(n, height, width)`, bool; or 1, 0, and -1 where nothing is annotated.
            classes: the class that each map is of, which a protocol that averages over classes needs.
            images: the image that each map is of, if there may be several of one: the bootstrap draws them together.

        Raises:
            InputError: NaN, sizes or numbers that do not fit, another value in a mask, or no classes where needed.
        """
        found = as_double(maps, "heatmaps", "n, h, w")
        where = _as_masks(masks)
        large = upsampled(found, where.shape).numpy()
        names = _names(classes, len(large), "classes", [""] * len(large))
        if self.protocol.average == "class" and classes is None:
            raise InputError(f"protocol {self.protocol.name} averages over classes: give classes=, one for each map")
        own = [f"#{self._n + i}" for i in range(len(large))]
        self._parts.append(measure_each(self.protocol, large, where, names, _names(images, len(large), "images", own)))
        self._n += len(large)

    def result(self, bootstrap: int = 1000, seed: int = 0, confidence: float = 0.95) -> SegmentationResult:
        """Take the measures of all maps, with percentile intervals of the bootstrap over images.

        Images are drawn with replacement, and every measure is computed again from those drawn: from their counts where
        it is pooled. Equal seeds draw the same of equally many images, so that methods can be compared in pairs.

        Args:
            bootstrap: how many replicates; 0 for none.
            seed: of the draws.
            confidence: share of the replicates between the ends of an interval.

        Raises:
            InputError: no map was added, none has an annotated pixel, a negative number of replicates, or a share that
                is none.
        """
        drawing, rows = Bootstrap(bootstrap, seed, confidence), self.rows
        if not rows.counts.any():
            raise InputError(f"none of {len(rows)} masks has an annotated pixel: there is nothing to measure")
        table = WeightedMeasures.of(rows, self.protocol)
        whole = table.weighted(np.ones((1, len(rows))))
        drawn = [table.weighted(weights) for weights in drawing.draws(rows.images)]
        ends = {m: drawing.ends([each[m] for each in drawn]) for m in MEASURES}
        counted = table.counted()
        estimates = {m: Estimate(float(whole[m][0]), *ends[m], counted[m]) for m in MEASURES}
        return SegmentationResult(self.protocol, len(rows), len(set(rows.images)), confidence, **estimates)


def _as_masks(masks: Tensor | np.ndarray) -> Int8[np.ndarray, "n height width"]:
    found = masks.detach().cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
    strange = found[(found != 0) & (found != 1) & (found != -1)] if found.dtype != bool else found[:0]
    if strange.size:
        raise InputError(f"masks: value {strange.flat[0]}; they are 1 on the object, 0 beside it, -1 if not annotated")
    return found.astype(np.int8)


def _names(given: Sequence[str] | None, n: int, noun: str, usual: Sequence[str]) -> Sequence[str]:
    if given is not None and len(given) != n:
        raise InputError(f"{noun}: {len(given)} names for {n} heatmaps; give one for each")
    return usual if given is None else given
