"""Ablation curves of one or more models, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vitdecomp.ablation.curves import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL = (3.6, 3.2)  # inches


def draw_curves(models: Mapping[str, Sequence[Curve]], unit: str = "layer") -> Figure:
    """Draw a panel for each order and a line for each model; a band is one standard deviation over random orders.

    Args:
        models: the curves of each model, the same orders for all.
        unit: what is taken away in one step.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    orders = [curve.order for curve in next(iter(models.values()))]
    figure = Figure(figsize=(PANEL[0] * len(orders), PANEL[1] + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(orders), sharey=True, squeeze=False)[0]
    for place, (axes, order) in enumerate(zip(panels, orders, strict=True)):
        for name, curves in models.items():
            accuracy, deviation = (np.array(getattr(curves[place], key)) for key in ("accuracy", "deviation"))
            steps = np.arange(len(accuracy))
            axes.plot(steps, accuracy, marker="o", markersize=3, label=name)
            if deviation.any():
                axes.fill_between(steps, accuracy - deviation, accuracy + deviation, alpha=0.15)
        axes.set_title(f"order: {order}", fontsize=10)
        axes.set_xlabel(f"{unit}s taken away")
        axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy")
    lines, names = panels[0].get_legend_handles_labels()
    legend = figure.legend(lines, names, loc="outside lower center", ncols=min(len(names), 6), fontsize=8)
    for label in legend.get_texts():
        label.set_parse_math(False)  # a name may hold dollar signs
    return figure
