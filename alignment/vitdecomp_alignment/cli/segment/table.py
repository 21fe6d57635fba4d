"""Measures of several methods as a table: for a terminal, in Markdown, as CSV and as plain values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from vitdecomp._utils.console import make_table
from vitdecomp.metrics import Estimate

HIGHER, LOWER = "↑", "↓"
LABELS = {
    "miou": "mIoU",
    "average_precision": "AP",
    "pointing": "pointing game",
    "inside": "mass inside",
    "road": "ROAD",
    "saco": "SaCo",
}
CELL, FIRST = 23, 26  # columns of a terminal that a measure takes, and what stands before the measures


@dataclass(frozen=True, slots=True)
class MeasureTable:
    """Measures of several methods on the same maps.

    Attributes:
        name: a protocol, or `faithfulness`. definition: what was measured.
        higher_is_better: of each measure. estimates: of each method and measure.
    """

    name: str
    definition: str
    higher_is_better: Mapping[str, bool]
    estimates: Mapping[str, Mapping[str, Estimate]]

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures."""
        return tuple(self.higher_is_better)

    def parts(self, width: int) -> Iterator[Table]:
        """Lay the table out for a terminal: as several of about as many measures each, where it is not wide enough."""
        most = max(1, (width - FIRST) // CELL)
        count = -(-len(self.measures) // most)
        size = -(-len(self.measures) // count)
        for start in range(0, len(self.measures), size):
            yield self.table(self.measures[start : start + size])

    def table(self, measures: Sequence[str]) -> Table:
        """Lay some measures out: a row for each method."""
        heads = [f"{_label(name)} {HIGHER if self.higher_is_better[name] else LOWER}" for name in measures]
        table = make_table("method", *heads, "n", words={"method"})
        for method, found in self.estimates.items():
            table.add_row(method, *(_cell(found[name]) for name in measures), str(max(found[m].n for m in measures)))
        return table

    def notes(self) -> Iterator[str]:
        """Say which measures are of fewer maps than others."""
        most = max(one.n for found in self.estimates.values() for one in found.values())
        for name in self.measures:
            counts = sorted({found[name].n for found in self.estimates.values()})
            if counts[0] < most:
                few = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
                yield f"{_label(name)} is defined by {few} of the {most} maps"

    def rows(self) -> Iterator[tuple[str | float | None, ...]]:
        """Give table, method, measure, value, low, high and n, one measure after another."""
        for method, found in self.estimates.items():
            for name, one in found.items():
                yield self.name, method, name, *_known(one).values()

    def plain(self) -> dict[str, Any]:
        """Give all of it as plain values; what is not defined is null."""
        methods = {
            method: {name: _known(one) for name, one in found.items()} for method, found in self.estimates.items()
        }
        return {"definition": self.definition, "higher_is_better": dict(self.higher_is_better), "methods": methods}


def _cell(one: Estimate) -> str:
    return "" if math.isnan(one.value) else f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _label(name: str) -> str:
    """Write the name of a measure as a heading."""
    return LABELS.get(name, name.replace("-", " ").replace("_", " "))


def _known(one: Estimate) -> dict[str, float | None]:
    """Give value, low, high and n; `None` for what is not defined."""
    return {key: None if math.isnan(number) else number for key, number in asdict(one).items()}
