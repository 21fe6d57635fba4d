"""Scores as a heat map of features and components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitdecomp._utils.files import atomic, check_file
from vitdecomp.component import Component
from vitdecomp.errors import OutputError
from vitdecomp.score.scorer import FeatureScorer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIX = ".png"
CELL, WIDEST = 0.16, 40.0  # inches
LABELLED = 250  # names on the axis at most
RESOLUTION = 150  # pixels an inch


def heat_map(scorer: FeatureScorer, marked: Mapping[str, Sequence[Component]] | None = None) -> Figure:
    """Draw all scores; constants are left out.

    Args:
        scorer: fitted.
        marked: components of some features that get a dot, such as those that `top` chose.

    Raises:
        SpecError: not fitted yet.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    able = scorer._fitted().able
    scores = scorer.scores_[:, list(able)]
    names = [scorer.components_[i].name for i in able]
    width = min(2.5 + CELL * len(names), WIDEST)
    figure = Figure(figsize=(max(width, 6.0), 2.2 + 0.35 * len(scorer.features_)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    size = max(float(np.abs(scores).max(initial=0.0)), 1e-12)
    image = axes.imshow(scores, aspect="auto", cmap="RdBu_r", vmin=-size, vmax=size, interpolation="nearest")
    step = -(-len(names) // LABELLED) or 1
    axes.set_xticks(range(0, len(names), step), labels=names[::step], rotation=90, fontsize=6)
    axes.set_yticks(range(len(scorer.features_)), labels=scorer.features_, parse_math=False)
    for feature, components in (marked or {}).items():
        places = [names.index(component.name) for component in components]
        rows = [scorer.features_.index(feature)] * len(places)
        axes.plot(places, rows, linestyle="", marker="o", markersize=2.5, color="black")
    figure.colorbar(image, ax=axes, label="score", pad=0.01)
    return figure


def check_figure_file(path: Path) -> None:
    """Raise `OutputError` unless a figure can be written at a path; nothing is created."""
    if path.suffix.lower() != SUFFIX:
        raise OutputError(f"cannot write a figure as {path.name}: the name must end in {SUFFIX}")
    check_file(path)


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    check_figure_file(path)
    with atomic(path) as partial:
        figure.savefig(partial, format="png", dpi=RESOLUTION)
