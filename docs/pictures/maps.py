"""Where a CLIP sees what a text names, by several methods: `docs/images/maps.png`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score
from style import FAINT, INK, figure, save, show
from torch import Tensor
from world import CLIP, clip, pixels, scenes

import vitdecomp as vd
from vitdecomp.heatmaps import explain_each
from vitdecomp.heatmaps.colors import Palette, gray
from vitdecomp.scenes import FACTORS
from vitdecomp.scenes.render import draw_both
from vitdecomp.scenes.scene import Scene, Second

N = 200  # scenes among which those with two objects are taken
METHODS = ("softened", "frozen", "decompose", "legrad", "chefer", "gradcam", "random")
SHOWN = 0  # of the scenes with two objects that can both be seen well: the first
CLEAR = 150  # pixels of each object


def draw() -> Path:
    """Ask for both objects of one scene; the figures are means over both objects of all such scenes."""
    data = scenes(N)
    found = [(i, *draw_both(data.scene(i))) for i in range(N) if data.scene(i).second]
    found = [each for each in found if min(each[2].sum(), each[3].sum()) >= CLEAR]
    rows = [i for i, *_ in found]
    model = vd.load_model(CLIP)
    images = pixels(model, data)[rows]
    objects = [(phrase(data.scene(i)), phrase(data.scene(i).second)) for i in rows]
    maps = explain_each(model, images, directions(objects), METHODS)
    heats = {method: each.values.numpy() for method, each in zip(METHODS, maps.values(), strict=True)}
    masks = np.stack([np.stack(each[2:]) for each in found])
    drawn = figure(2.75)
    for place, words in enumerate(objects[SHOWN]):
        strip(drawn, place, words, found[SHOWN][1], masks[SHOWN, place], [h[SHOWN, place] for h in heats.values()])
    for place, (method, heat) in enumerate(heats.items()):
        x = left(place + 1) + WIDE / 2
        drawn.text(x, 0.94, method, ha="center", fontsize=9, weight="bold" if place < 3 else "normal")
        drawn.text(x, 0.015, f"{precision(heat, masks):.2f}", ha="center", fontsize=9)
    drawn.text(0.008, 0.015, f"average precision, {len(rows)} scenes", color=FAINT, fontsize=8)
    return save(drawn, "maps")


def phrase(thing: Scene | Second | None) -> str:
    """Name an object."""
    assert thing is not None
    return f"a {thing.pattern} {thing.colour} {thing.shape}"


def directions(objects: Sequence[Sequence[str]]) -> Tensor:
    """Return each text's vector minus the mean over all such texts: what sets it apart."""
    every = [f"a {p} {c} {s}" for p in FACTORS["pattern"] for c in FACTORS["colour"] for s in FACTORS["shape"]]
    mean = clip().encode_text(every).mean(0)
    return torch.stack([clip().encode_text(list(pair)) - mean for pair in objects])


def precision(heat: np.ndarray, masks: np.ndarray) -> float:
    """Average the precision of the pixels of each map against the object that was asked for."""
    pairs = zip(masks.reshape(-1, masks[0, 0].size), heat.reshape(-1, heat[0, 0].size), strict=True)
    return float(np.mean([average_precision_score(mask, values) for mask, values in pairs]))


WIDE, HIGH = 0.103, 0.33
PALE = 0.45  # how far the image below a map is bleached


def left(place: int) -> float:
    """Return where a panel begins."""
    return 0.157 + 0.106 * place


def strip(
    drawn: Figure, place: int, words: str, image: np.ndarray, mask: np.ndarray, heats: Sequence[np.ndarray]
) -> None:
    """Draw the scene and the maps of one text, with the outline of what it names."""
    y = 0.5 - 0.4 * place + 0.02
    article, middle, *last = words.split()
    drawn.text(0.008, y + HIGH / 2, f"“{article} {middle}\n{' '.join(last)}”", va="center", fontsize=9, color=INK)
    show(drawn.add_axes((left(0), y, WIDE, HIGH)), image)
    for column, heat in enumerate(heats):
        axes = drawn.add_axes((left(column + 1), y, WIDE, HIGH))
        # Zero is clear for all methods, so that signed and positive maps share one scale of colors.
        show(axes, Palette.of(heat, signed=True).over(heat, PALE + (1 - PALE) * gray(image / 255)))
        axes.contour(mask, levels=[0.5], colors=[INK], linewidths=1.1)
