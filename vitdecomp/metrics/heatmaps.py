"""Localisation: does a heatmap lie where the thing is?

References:
    Average precision and IoU of segmentations: Chefer, Gur and Wolf, "Transformer Interpretability Beyond Attention
    Visualization", arXiv 2012.09838; pointing game: Zhang et al., "Top-down Neural Attention by Excitation Backprop",
    arXiv 1608.00507.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from torch.nn.functional import interpolate

from vitdecomp.errors import InputError
from vitdecomp.metrics.inputs import as_double


@dataclass(frozen=True, slots=True)
class Localisation:
    """How well heatmaps show where the masks are, for each image, `(n,)`, 0 .. 1.

    Attributes:
        average_precision: of the pixels, ranked by the heatmap; needs no threshold.
        iou: intersection over union with the mask, of as many of the largest pixels as the mask has.
        pointing: whether the maximum lies inside the mask.
        inside: share of the positive mass inside the mask; 0 if there is none.
        chance: the mask's share of the picture, which a map without knowledge reaches in all of these but `iou`
            (there it is s / (2 - s) for a share s).

    Where pixels are equally large, `iou` and `pointing` count the share of them that lies inside.
    """

    average_precision: Float64[np.ndarray, " n"]
    iou: Float64[np.ndarray, " n"]
    pointing: Float64[np.ndarray, " n"]
    inside: Float64[np.ndarray, " n"]
    chance: Float64[np.ndarray, " n"]

    def __len__(self) -> int:
        """Count the images."""
        return len(self.chance)

    def mean(self) -> dict[str, float]:
        """Average each measure over the images, by its name."""
        return {f.name: float(getattr(self, f.name).mean()) for f in fields(self)}


def localisation(
    heatmap: Float[Tensor, "n h w"] | Float[np.ndarray, "n h w"],
    mask: Bool[Tensor, "n height width"] | Bool[np.ndarray, "n height width"],
) -> Localisation:
    """Compare heatmaps with masks of where the thing is.

    Args:
        heatmap: larger where the thing is thought to be, in any unit, `(n, h, w)`; one smaller than the mask is
            upsampled bilinearly.
        mask: where the thing is, `(n, height, width)`.

    Raises:
        InputError: NaN, an empty mask, another number of images, or a heatmap larger than the mask.
    """
    maps = as_double(heatmap, "heatmap", "n, h, w")
    where = (mask.detach().cpu() if isinstance(mask, Tensor) else torch.from_numpy(np.array(mask))).bool()
    if where.ndim != 3 or len(where) != len(maps) or any(a > b for a, b in zip(maps.shape, where.shape, strict=True)):
        raise InputError(f"heatmaps {tuple(maps.shape)} do not fit masks {tuple(where.shape)}; both are (n, h, w)")
    if maps.shape != where.shape:
        maps = interpolate(maps[:, None], where.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    values, inside = maps.flatten(1).numpy(), where.flatten(1).numpy()
    empty = np.flatnonzero(~inside.any(axis=1))
    if len(empty):
        raise InputError(f"the mask of image {empty[0]} is empty: there is nothing to find")
    best = values == values.max(axis=1, keepdims=True)
    positive = np.maximum(values, 0)
    mass = positive.sum(axis=1)
    average_precision, iou = _ranked(values, inside)
    return Localisation(
        average_precision=average_precision,
        iou=iou,
        pointing=(best & inside).sum(axis=1) / best.sum(axis=1),
        inside=(positive * inside).sum(axis=1) / np.where(mass > 0, mass, 1),
        chance=inside.mean(axis=1),
    )


def _ranked(
    values: Float64[np.ndarray, "n pixel"], inside: Bool[np.ndarray, "n pixel"]
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Average precision, and IoU at the mask's own size; equal values count together.

    AP = sum over thresholds of (R_t - R_(t-1)) P_t, as in scikit-learn's `average_precision_score`.
    """
    n, pixels = values.shape
    order = np.argsort(-values, axis=1, kind="stable")
    ranked, true = np.take_along_axis(values, order, 1), np.take_along_axis(inside, order, 1)
    change = ranked[:, 1:] != ranked[:, :-1]
    edge = np.ones((n, 1), dtype=bool)
    place = np.arange(pixels)
    first = np.maximum.accumulate(np.where(np.hstack([edge, change]), place, 0), axis=1)
    backwards = np.where(np.hstack([change, edge]), place, pixels)[:, ::-1]
    last = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    found = np.hstack([np.zeros((n, 1), dtype=np.int64), true.cumsum(axis=1)])  # inside, among the first 0, 1, ...
    size = found[:, -1]
    precision = np.take_along_axis(found, last + 1, 1) / (last + 1)
    at = (size - 1)[:, None]  # the last pixel that is kept, and the pixels equal to it
    above, until = np.take_along_axis(first, at, 1), np.take_along_axis(last, at, 1) + 1
    before, after = np.take_along_axis(found, above, 1), np.take_along_axis(found, until, 1)
    common = (before + (after - before) * (at + 1 - above) / (until - above))[:, 0]
    return (precision * true).sum(axis=1) / size, common / (2 * size - common)
