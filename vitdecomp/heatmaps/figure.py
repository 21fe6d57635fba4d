"""Heatmaps as a figure of matplotlib: a row for each image, a column for each direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.heatmaps.caption import FROM, caption
from vitdecomp.heatmaps.colors import Palette, gray
from vitdecomp.heatmaps.heatmaps import Heatmaps, labels_of
from vitdecomp.heatmaps.slices import seen, side_by_side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = 2.4
WIDEST = 7.2  # of a panel, where slices lie side by side
FLAT = 4  # axes of the maps of images: images, directions, rows, columns
WHITE = np.uint8(255)


def figure(maps: Heatmaps, images: Tensor | Sequence[Any] | None) -> Figure:
    """Draw a row for each image and a column for each direction; frames and slices lie side by side.

    Raises:
        InputError: another number of images than of maps.
    """
    from matplotlib.figure import Figure

    n, directions = maps.grid.shape[:2]
    if images is not None and len(images) != n:
        raise InputError(f"{len(images)} images for the maps of {n}")
    values = [[side_by_side(heat) for heat in row] for row in maps.values.detach().float().cpu().numpy()]
    size = (INCHES, INCHES + 0.7) if maps.grid.ndim <= FLAT or not n * directions else _of_strip(values[0][0])
    drawn = Figure(figsize=(size[0] * directions + 0.8, size[1] * n), layout="constrained")
    axes = drawn.subplots(n, directions, squeeze=False)
    for column, label in enumerate(labels_of(maps.labels, directions)):
        axes[0][column].set_title(label, fontsize=9, parse_math=False)
    for row in range(n):
        below = np.ones(values[row][0].shape) if images is None else gray(seen(images[row], maps.size))
        for column in range(directions):
            _panel(axes[row][column], values[row][column], below, maps.signed)
            said = caption(maps, row, column)
            largest = said.pop(FROM, "")
            text = "\n".join([*(f"{name} {value}" for name, value in said.items()), largest.replace(", ", "\n")])
            axes[row][column].set_xlabel(text, fontsize=6)
    drawn.suptitle(maps.method, fontsize=10)
    return drawn


def _of_strip(flat: np.ndarray) -> tuple[float, float]:
    """Return width and height of a panel in which slices lie side by side, with what stands below it."""
    return WIDEST, WIDEST * flat.shape[0] / flat.shape[1] + 1.2


def _panel(axis: Axes, heat: np.ndarray, below: np.ndarray, signed: bool) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    gap = np.isnan(heat)  # between slices
    palette = Palette.of(heat[~gap], signed=signed)
    axis.imshow(np.where(gap[..., None], WHITE, palette.over(np.nan_to_num(heat), below)))
    bar = ScalarMappable(Normalize(palette.low, palette.high), palette.name)
    assert axis.figure is not None
    axis.figure.colorbar(bar, ax=axis, shrink=0.7).ax.tick_params(labelsize=6)
    axis.set_xticks([])
    axis.set_yticks([])
