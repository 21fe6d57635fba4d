"""Curves as a picture: the ratio to the plain pass above, and the time below."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, nan
from pathlib import Path
from typing import Any

from timing import PLAIN, Row

SIZE = 2.2, 1.9  # of a panel, in inches
COLUMNS = 4
STEEP = 10  # times the smallest value: an axis that goes farther is logarithmic
COLOURS = ("#00796b", "#e65100", "#5e35b1", "#9e9e9e")


def draw(curves: Mapping[str, Any], path: Path) -> None:
    """Write two panels a curve, one above the other, as SVG.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    known = [curve for curve in curves.values() if curve["points"]]
    rows = 2 * ceil(len(known) / COLUMNS)
    with mpl.rc_context({"svg.hashsalt": "curves", "font.size": 7, "svg.fonttype": "none"}):
        figure = Figure(figsize=(SIZE[0] * COLUMNS, SIZE[1] * rows), layout="constrained")
        axes = figure.subplots(rows, COLUMNS, squeeze=False)
        seen: set[str] = set()
        for place, curve in enumerate(known):
            row, column = 2 * (place // COLUMNS), place % COLUMNS
            tasks = _panel(axes[row][column], curve, "ratio", "" if column else "x plain")
            _panel(axes[row + 1][column], curve, "milliseconds", "" if column else "ms")
            if not {*tasks} <= seen:
                free = "upper right" if axes[row][column].get_yscale() == "log" else "lower left"
                axes[row][column].legend(frameon=False, fontsize=6, loc=free)
                seen |= {*tasks}
        for place in range(len(known), COLUMNS * rows // 2):
            for row in (0, 1):
                axes[2 * (place // COLUMNS) + row][place % COLUMNS].set_axis_off()
        figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(axis: Any, curve: Mapping[str, Any], value: str, label: str) -> list[str]:
    """Draw what a curve has, and tell its tasks."""
    at = [point["at"] for point in curve["points"]]
    by_task: dict[str, list[float]] = {}
    for point in curve["points"]:
        for row in (Row(**row) for row in point["rows"]):
            found = getattr(row, value)
            by_task.setdefault(row.task, []).append(nan if found is None else found)
    colours = {**dict(zip((task for task in by_task if task != PLAIN), COLOURS, strict=False)), PLAIN: COLOURS[-1]}
    for task, values in by_task.items():
        axis.plot(at, values, marker="o", markersize=3, linewidth=1.2, color=colours[task], label=task)
    axis.set_xscale("log", base=2)
    axis.set_xticks(at, [f"{x}" for x in at])
    every = [x for values in by_task.values() for x in values]
    if max(every) > STEEP * min(every):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
    else:
        axis.set_ylim(0, 1.1 * max(every))  # from zero, or noise would look like a difference
    axis.minorticks_off()
    axis.set_xlabel(curve["label"])
    axis.set_ylabel(label)
    return list(by_task)
