"""Maps and inputs of any number of axes, as one flat picture: frames, or slices of a volume, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.images.shown import shown

MOST = 8  # frames or slices that are shown, at even distances
GAP = 1  # pixels between them
COLORS = (1, 3)  # lengths of an axis of channels, as a rule


def side_by_side(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "H W"]:
    """Put the slices along all axes in front of the last two beside one another; NaN between them."""
    rows = x.reshape(-1, *x.shape[-2:]) if x.ndim > 1 else x[None, None]
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), MOST)).round().astype(int)
    edge = np.full((rows.shape[1], GAP), np.nan, dtype=rows.dtype)
    parts = [part for number in chosen for part in (edge, rows[number])]
    return np.concatenate(parts[1:], 1)


def seen(image: Any, size: Sequence[int]) -> Float[np.ndarray, "H W 3"]:
    """Return an input as people see it, from 0 to 1, laid out as its map is.

    Args:
        image: a tensor as a model takes it; or a PIL image.
        size: how long the axes are along which the map lies.

    Raises:
        InputError: the input does not have these axes.
    """
    if len(size) == 2 and not (isinstance(image, Tensor) and image.ndim == 2):
        return shown(image, (size[0], size[1]))
    if not isinstance(image, Tensor):
        raise InputError(f"maps of {len(size)} axes are drawn over tensors, not over {type(image).__name__}")
    values = _without_channels(image.detach().float().cpu(), tuple(size))
    low, high = values.amin(), values.amax()
    flat = side_by_side(((values - low) / (high - low).clamp_min(1e-12)).numpy())
    return np.repeat(np.nan_to_num(flat, nan=1.0)[..., None], 3, -1)


def _without_channels(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """Average over the one axis that the map does not have; where two would do, over that of colors, the last one."""
    if image.shape == size:
        return image
    able = [a for a in range(image.ndim) if (*image.shape[:a], *image.shape[a + 1 :]) == size]
    if not able:
        sizes = " x ".join(map(str, size))
        raise InputError(f"an input of shape {tuple(image.shape)} does not belong to maps of {sizes}")
    axis = max(able, key=lambda a: (image.shape[a] in COLORS, a))
    return torch.mean(image, axis)
