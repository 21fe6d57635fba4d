"""How all pictures look: one palette, one font, a light ground, and a width that GitHub shows without shrinking."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

IMAGES = Path(__file__).parents[1] / "images"
WIDTH = 8.8  # inches; GitHub's column is 880 pixels wide
RESOLUTION = 200  # pixels an inch, for screens with two pixels in place of one
SHADES = 255  # colors of a file
INK, FAINT, LINE = "#22303c", "#6b7a86", "#d5dce1"
RIGHT = "#1b8a5a"  # what is as it should be
# One color for each feature, in every picture.
FEATURES = {
    "shape": "#3b75af",
    "colour": "#d9603b",
    "pattern": "#8461b8",
    "location": "#26917a",
    "size": "#c8941f",
}


def figure(height: float) -> Figure:
    """Start a figure of the common width."""
    mpl.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.edgecolor": LINE})
    mpl.rcParams.update({"axes.labelcolor": INK, "xtick.color": FAINT, "ytick.color": INK})
    return Figure(figsize=(WIDTH, height), facecolor="white")


def tint(color: str, strength: float) -> tuple[float, float, float]:
    """Mix a color with white: 0 is white, 1 the color."""
    mixed = 1 - np.clip(strength, 0, 1) * (1 - np.array(to_rgb(color)))
    return tuple(mixed.tolist())


def bare(axes: Axes) -> None:
    """Take ticks and frame away."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def show(axes: Axes, picture: np.ndarray, *, frame: str = "", width: float = 2.6) -> None:
    """Show an image, with a colored frame or none."""
    axes.imshow(picture, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(bool(frame))
    axes.spines[:].set(color=frame or "white", linewidth=width)


def save(drawn: Figure, name: str) -> Path:
    """Write `docs/images/NAME.png` with few colors, which keeps it small."""
    path = IMAGES / f"{name}.png"
    drawn.savefig(path, dpi=RESOLUTION)
    with Image.open(path) as written:
        small = written.convert("RGB").quantize(SHADES, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    return path


def legend(drawn: Figure, y: float, before: tuple[str, ...], names: tuple[str, ...], after: str = "") -> None:
    """Write a line of features, each behind a square of its color."""
    axes = drawn.add_axes((0, y - 0.03, 1, 0.06))
    axes.set(xlim=(0, 100), ylim=(0, 1))
    axes.set_axis_off()
    x = 7.0
    for words in before:
        axes.text(x, 0.5, words, va="center", color=FAINT)
        x += 1.1 * len(words) + 1
    for name in names:
        axes.scatter([x], [0.5], marker="s", s=70, color=FEATURES[name], clip_on=False)
        axes.text(x + 1.4, 0.5, name, va="center")
        x += 1.1 * len(name) + 4.5
    axes.text(99, 0.5, after, ha="right", va="center", color=FAINT)
