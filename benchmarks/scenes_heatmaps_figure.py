"""Heatmaps over their pictures, as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 0.9  # of a panel, in inches
SHADES = 128  # of which a small file is made


@dataclass(frozen=True)
class Panel:
    """A picture, the map over it if there is one, and what stands above."""

    image: np.ndarray
    heat: np.ndarray | None
    title: str


def draw(rows: Sequence[Sequence[Panel]], path: Path) -> None:
    """Write rows of panels; the first of each row is the picture itself, its title in front of the row."""
    from matplotlib.figure import Figure

    width = len(rows[0])
    figure = Figure(figsize=(SIDE * (width + 1.6), SIDE * len(rows) + 0.2), layout="constrained")
    axes = figure.subplots(len(rows), width, squeeze=False)
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            axis = axes[i][j]
            axis.set_xticks([])
            axis.set_yticks([])
            if j == 0:
                axis.imshow(panel.image)
                text = panel.title.replace(": ", ":\n").rsplit(" ", 2)
                axis.set_ylabel(
                    "\n".join((text[0], " ".join(text[1:]))), rotation=0, ha="right", va="center", fontsize=6
                )
                continue
            if i == 0:
                axis.set_title(panel.title, fontsize=6)
            if panel.heat is None:
                axis.set_axis_off()
                continue
            axis.imshow(panel.image.mean(2), cmap="gray", alpha=0.5)
            most = float(np.abs(panel.heat).max()) or 1.0
            axis.imshow(panel.heat, cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.65)
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=90)
    with Image.open(drawn) as large:
        large.convert("RGB").quantize(SHADES).save(path, format="png", optimize=True)
