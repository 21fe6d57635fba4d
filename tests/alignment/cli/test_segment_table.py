"""Tables of measures: every number once, however wide the terminal is, and what is not defined is said."""

from __future__ import annotations

import math

import pytest
from vitdecomp_alignment.cli.segment.table import MeasureTable

from vitdecomp.metrics import MEASURES, Estimate

TABLE = MeasureTable(
    "foreground",
    "of all",
    dict.fromkeys(MEASURES, True),
    {
        method: {
            name: Estimate(0.1 * i + 0.01 * k, 0.0, 1.0, 7 - (name == "pointing")) for i, name in enumerate(MEASURES)
        }
        for k, method in enumerate(("legrad", "random"))
    },
)
NONE = Estimate(math.nan, math.nan, math.nan, 0)


@pytest.mark.parametrize(("width", "measures"), [(40, [1] * 5), (80, [2, 2, 1]), (120, [3, 2]), (200, [5])])
def test_a_narrow_terminal_gets_several_tables(width: int, measures: list[int]) -> None:
    parts = list(TABLE.parts(width))
    assert [len(part.columns) - 2 for part in parts] == measures
    heads = [str(column.header) for part in parts for column in part.columns[1:-1]]
    assert heads == ["pixel accuracy ↑", "mIoU ↑", "AP ↑", "pointing game ↑", "mass inside ↑"]
    cells = [next(iter(column.cells)) for part in parts for column in part.columns[1:-1]]
    assert cells == [f"{0.1 * i:.3f} [0.000, 1.000]" for i in range(5)]


def test_what_fewer_maps_define_is_said() -> None:
    assert list(TABLE.notes()) == ["pointing game is defined by 6 of the 7 maps"]


def test_what_is_not_defined_is_empty() -> None:
    table = MeasureTable("points", "", {"stability": False}, {"legrad": {"stability": NONE}})
    (part,) = table.parts(80)
    assert [next(iter(column.cells)) for column in part.columns] == ["legrad", "", "0"]
    assert [str(column.header) for column in part.columns] == ["method", "stability ↓", "n"]
    assert list(table.rows()) == [("points", "legrad", "stability", None, None, None, 0)]
    assert table.plain()["methods"]["legrad"]["stability"] == {"value": None, "low": None, "high": None, "n": 0}
