"""Curves as a picture: the ratio to the plain pass above, and the time below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timing import PLAIN, Row

SIZE = 2.7, 2.3  # of a panel, in inches
STEEP = 10  # a ratio from which on an axis is logarithmic
COLOURS = ("#00796b", "#e65100", "#5e35b1", "#9e9e9e")


def draw(curves: Mapping[str, Any], path: Path) -> None:
    """Write one panel a curve and a row as SVG.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    known = {name: curve for name, curve in curves.items() if curve["points"]}
    with mpl.rc_context({"svg.hashsalt": "curves", "font.size": 7, "svg.fonttype": "none"}):
        figure = Figure(figsize=(SIZE[0] * len(known), 2 * SIZE[1]), layout="constrained")
        axes = figure.subplots(2, len(known), squeeze=False)
        for column, curve in enumerate(known.values()):
            _panel(axes[0][column], curve, "ratio", "x plain" if column == 0 else "")
            _panel(axes[1][column], curve, "milliseconds", "ms" if column == 0 else "")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(axis: Any, curve: Mapping[str, Any], value: str, label: str) -> None:
    at = [point["at"] for point in curve["points"]]
    by_task: dict[str, list[float]] = {}
    for point in curve["points"]:
        for row in map(lambda row: Row(**row), point["rows"]):
            found = getattr(row, value)
            by_task.setdefault(row.task, []).append(float("nan") if found is None else found)
    others = [task for task in by_task if task != PLAIN]
    colours = {**dict(zip(others, COLOURS, strict=False)), PLAIN: COLOURS[-1]}
    for task, values in by_task.items():
        axis.plot(at, values, marker="o", markersize=3, linewidth=1.2, color=colours[task], label=task)
    axis.set_xscale("log", base=2)
    axis.set_xticks(at, [f"{x}" for x in at])
    axis.minorticks_off()
    axis.set_xlabel(curve["label"])
    axis.set_ylabel(label)
    if value == "ratio":
        if max(map(max, by_task.values())) > STEEP:
            axis.set_yscale("log")
        axis.legend(frameon=False, fontsize=6)
    else:
        axis.set_yscale("log")
