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

from vitdecomp.errors import InputError
from vitdecomp.metrics.inputs import as_double, upsampled
from vitdecomp.metrics.ranking import Ranking


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
    maps = upsampled(maps, tuple(where.shape))
    values, inside = maps.flatten(1).numpy(), where.flatten(1).numpy()
    empty = np.flatnonzero(~inside.any(axis=1))
    if len(empty):
        raise InputError(f"the mask of image {empty[0]} is empty: there is nothing to find")
    best = values == values.max(axis=1, keepdims=True)
    positive = np.maximum(values, 0)
    mass = positive.sum(axis=1)
    ranking = Ranking(values, inside)
    return Localisation(
        average_precision=ranking.average_precision(),
        iou=ranking.iou(),
        pointing=(best & inside).sum(axis=1) / best.sum(axis=1),
        inside=(positive * inside).sum(axis=1) / np.where(mass > 0, mass, 1),
        chance=inside.mean(axis=1),
    )
