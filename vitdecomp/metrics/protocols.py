"""Protocols: how a heatmap becomes a segmentation, and over what its measures are averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64

from vitdecomp._utils.registry import Registry
from vitdecomp.errors import SpecError

MEAN: Literal["mean"] = "mean"
CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"classes": ("both", "foreground"), "average": ("set", "class", "image")}
)


@dataclass(frozen=True, slots=True)
class Protocol:
    """State how heatmaps are compared with masks. Figures of two protocols are not comparable.

    A map is brought to [0, 1] by its own minimum and maximum (a constant one to 1/2), and what exceeds the threshold
    is foreground. Pixels that are not annotated count nowhere, except in the map's minimum, maximum and mean.

    Attributes:
        name: in `PROTOCOLS`.
        threshold: `"mean"`, the map's own mean, or a number between 0 and 1.
        classes: which classes the IoU averages: `"both"` background and foreground, or the `"foreground"` alone.
            Average precision ranks the same: for `"both"`, the channels (1 - map, map) against the one-hot mask,
            flattened together.
        average: what the IoU averages: its counts are pooled over the `"set"`; pooled over the maps of each `"class"`,
            whose IoUs are averaged; or not pooled, and the IoUs of each `"image"` averaged.
        clip: set negative values of the map to 0 before all else.
        points: whether single points are annotated; then average precision leaves out maps whose points are all alike.
        definition: the protocol in a sentence.
        source: where it was published.

    Raises:
        SpecError: a threshold, classes or an average other than these.
    """

    name: str
    threshold: Literal["mean"] | float = MEAN
    classes: Literal["both", "foreground"] = "both"
    average: Literal["set", "class", "image"] = "set"
    clip: bool = False
    points: bool = False
    definition: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        limit: Any = self.threshold
        if limit != MEAN and not (isinstance(limit, int | float) and 0 <= limit <= 1):
            raise SpecError(f"protocol {self.name}: threshold {limit!r} is neither 'mean' nor within 0 .. 1")
        for field, known in CHOICES.items():
            if getattr(self, field) not in known:
                raise SpecError(f"protocol {self.name}: {field} {getattr(self, field)!r} is none of {', '.join(known)}")

    def normalized(self, maps: Float64[np.ndarray, "n h w"]) -> Float64[np.ndarray, "n h w"]:
        """Bring maps to [0, 1], each by its own minimum and maximum; a constant one says nothing, and becomes 1/2."""
        clipped = maps.clip(min=0) if self.clip else maps
        low, high = clipped.min(axis=(1, 2), keepdims=True), clipped.max(axis=(1, 2), keepdims=True)
        varies = high > low
        result: Float64[np.ndarray, "n h w"] = np.where(varies, (clipped - low) / np.where(varies, high - low, 1), 0.5)
        return result

    def foreground(self, normalized: Float64[np.ndarray, "n h w"]) -> Bool[np.ndarray, "n h w"]:
        """Segment normalized maps: what exceeds the threshold."""
        limit = normalized.mean(axis=(1, 2), keepdims=True) if self.threshold == MEAN else self.threshold
        above: Bool[np.ndarray, "n h w"] = normalized > limit
        return above


PROTOCOLS: Registry[str, Protocol] = Registry("protocol")


def register_protocol(protocol: Protocol) -> Protocol:
    """Add a protocol to `PROTOCOLS`.

    Raises:
        SpecError: there is another one of that name.
    """
    return PROTOCOLS.add(protocol.name, protocol)


register_protocol(
    Protocol(
        "imagenet-segmentation",
        definition="foreground above the map's own mean; IoU of background and foreground, averaged, counts pooled "
        "over the set; AP of each image over both channels flattened together",
        source="Guillaumin, Kuettel and Ferrari, IJCV 2014 (gtsegs_ijcv.mat); Chefer, Gur and Wolf, arXiv 2012.09838; "
        "as in TextSpan, arXiv 2310.05916, and LeGrad, arXiv 2404.03214",
    )
)
register_protocol(
    Protocol(
        "foreground",
        classes="foreground",
        clip=True,
        definition="negative values set to 0, foreground above the mean of the result; IoU of the foreground alone, "
        "counts pooled over the set; AP of the foreground alone",
        source="RepDecompose, arXiv 2406.01583, and its code (on PixelImageNet, true labels)",
    )
)
register_protocol(
    Protocol(
        "points",
        threshold=0.5,
        classes="foreground",
        average="class",
        points=True,
        definition="foreground above 1/2; IoU of the annotated points, TP / (TP + FP + FN), counts pooled over the "
        "images that show a class, averaged over classes; AP of the points of each map",
        source="LeGrad, arXiv 2404.03214 (p-mIoU on OpenImagesV7), which does not publish how it averages: the average "
        "over classes is ours",
    )
)
