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
from vitdecomp.images.shown import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = 2.4


def figure(maps: Heatmaps, images: Tensor | Sequence[Any] | None) -> Figure:
    """Draw a row for each image and a column for each direction.

    Raises:
        InputError: another number of images than of maps.
    """
    from matplotlib.figure import Figure

    n, directions = maps.grid.shape[:2]
    if images is not None and len(images) != n:
        raise InputError(f"{len(images)} images for the maps of {n}")
    drawn = Figure(figsize=(INCHES * directions + 0.8, (INCHES + 0.7) * n), layout="constrained")
    axes = drawn.subplots(n, directions, squeeze=False)
    values = maps.values.detach().float().cpu().numpy()
    for column, label in enumerate(labels_of(maps.labels, directions)):
        axes[0][column].set_title(label, fontsize=9, parse_math=False)
    for row in range(n):
        below = np.ones(maps.size) if images is None else gray(shown(images[row], maps.size))
        for column in range(directions):
            _panel(axes[row][column], values[row, column], below, maps.signed)
            said = caption(maps, row, column)
            largest = said.pop(FROM, "")
            text = "\n".join([*(f"{name} {value}" for name, value in said.items()), largest.replace(", ", "\n")])
            axes[row][column].set_xlabel(text, fontsize=6)
    drawn.suptitle(maps.method, fontsize=10)
    return drawn


def _panel(axis: Axes, heat: np.ndarray, below: np.ndarray, signed: bool) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    palette = Palette.of(heat, signed=signed)
    axis.imshow(palette.over(heat, below))
    bar = ScalarMappable(Normalize(palette.low, palette.high), palette.name)
    assert axis.figure is not None
    axis.figure.colorbar(bar, ax=axis, shrink=0.7).ax.tick_params(labelsize=6)
    axis.set_xticks([])
    axis.set_yticks([])
