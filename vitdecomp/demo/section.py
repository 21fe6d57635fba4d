"""What a step of the demo found: tables, bars and pictures, ready for a page and for JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any, TypeAlias

from vitdecomp.demo.figure import Cell, Number, Sentence


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        name: unique in its group. cells: one for each column.
        group: the same for lines that belong together. label: the name as it is shown, if it can be shorter.
    """

    name: str
    cells: tuple[Cell, ...]
    group: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures in lines and columns.

    Attributes:
        title: what it shows. corner: what the names of the lines are. columns: names of the columns.
        rows: the lines. heat: the values that are the coldest and the hottest colour, if cells are coloured.
        folded: whether it is closed at first. tall: whether it scrolls in a box of its own.
        grouped: whether the names of the groups are shown. prose: whether the cells are text.
    """

    title: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    heat: tuple[float, float] | None = None
    folded: bool = False
    tall: bool = False
    grouped: bool = False
    prose: bool = False
    kind: str = "table"

    def warmth(self, cell: Cell) -> int | None:
        """Return how hot a cell's colour is, from 0 to 100."""
        if self.heat is None or not isinstance(cell, Number) or isnan(cell.value):
            return None
        low, high = self.heat
        return round(100 * min(max((cell.value - low) / ((high - low) or 1), 0), 1))

    def groups(self) -> list[list[Row]]:
        """Group the lines that belong together."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.group, []).append(row)
        return list(found.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = [
            {
                self.corner: row.name,
                **({"group": row.group} if self.grouped else {}),
                **dict(zip(self.columns, map(_plain, row.cells), strict=True)),
            }
            for row in self.rows
        ]
        return {"kind": self.kind, "title": self.title, "rows": rows}


@dataclass(frozen=True, slots=True)
class Bars:
    """Named shares of a whole, drawn as bars."""

    title: str
    bars: tuple[tuple[str, Number], ...]
    kind: str = "bars"

    def width(self, number: Number) -> float:
        """Length of a bar in percent of the longest one."""
        longest = max(abs(other.value) for _, other in self.bars) or 1
        return round(100 * abs(number.value) / longest, 1)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": self.kind, "title": self.title, "bars": {name: n.to_json() for name, n in self.bars}}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        source: a data URI. alt: what it shows, in words. caption: what is written below it. facts: and below that.
        hit: whether it is one of those that were looked for; `None` where nothing was.
    """

    source: str
    alt: str
    caption: Sentence | None = None
    hit: bool | None = None
    facts: str = ""

    def to_json(self) -> dict[str, Any]:
        """Everything but the pixels."""
        found: dict[str, Any] = {"alt": self.alt}
        if self.caption is not None:
            found["caption"] = self.caption.to_json()
        if self.hit is not None:
            found["hit"] = self.hit
        if self.facts:
            found["facts"] = self.facts
        return found


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures side by side."""

    title: str
    pictures: tuple[Picture, ...]
    kind: str = "gallery"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": self.kind, "title": self.title, "pictures": [p.to_json() for p in self.pictures]}


@dataclass(frozen=True, slots=True)
class Strips:
    """A picture, and named rows of pictures that belong to it."""

    title: str
    first: Picture
    rows: tuple[tuple[str, tuple[Picture, ...]], ...]
    kind: str = "strips"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = {name: [p.to_json() for p in pictures] for name, pictures in self.rows}
        return {"kind": self.kind, "title": self.title, "first": self.first.to_json(), "rows": rows}


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines from left to right, each drawn over the whole width.

    Attributes:
        title: what it shows. across: what grows from left to right. up: what the height is, from 0 to 1.
        lines: figures by name; the first is at the left end, the last at the right.
    """

    title: str
    across: str
    up: str
    lines: tuple[tuple[str, tuple[Number, ...]], ...]
    kind: str = "chart"

    def points(self, line: tuple[Number, ...], width: int, height: int) -> str:
        """Return the corners of a line, for SVG."""
        step = width / max(len(line) - 1, 1)
        return " ".join(f"{i * step:.1f},{height * (1 - number.value):.1f}" for i, number in enumerate(line))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        lines = {name: [number.to_json() for number in line] for name, line in self.lines}
        return {"kind": self.kind, "title": self.title, "across": self.across, "up": self.up, "lines": lines}


Block: TypeAlias = Table | Bars | Gallery | Strips | Chart


@dataclass(frozen=True, slots=True)
class Page:
    """Name a page beside the report, and write it.

    Attributes:
        title: of the page. write: writes it to a file.
    """

    title: str
    write: Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Section:
    """What one step found.

    Attributes:
        title: its heading. finding: the result in one sentence. blocks: what shows it.
        how: how it was measured, in one sentence. repeat: the command that does it again.
        key: figures for the top of the page, by their names.
        pages: what has a page of its own, by its file's name.
    """

    title: str
    finding: Sentence
    blocks: tuple[Block, ...]
    how: Sentence
    repeat: str
    key: Mapping[str, Number] = field(default_factory=dict)
    pages: Mapping[str, Page] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values: all figures that the page shows."""
        return {
            "title": self.title,
            "finding": self.finding.to_json(),
            "key": {name: number.to_json() for name, number in self.key.items()},
            "blocks": [block.to_json() for block in self.blocks],
            "how": self.how.to_json(),
            "repeat": self.repeat,
            "pages": [*self.pages],
        }


def _plain(cell: Cell) -> Any:
    return cell if isinstance(cell, str) else cell.to_json()
