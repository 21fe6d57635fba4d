"""Comparisons as files: a page in Markdown, a CSV, or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.box import MARKDOWN

from vitdecomp import __version__
from vitdecomp._utils.console import PlainConsole
from vitdecomp._utils.files import atomic, check_file
from vitdecomp.errors import SpecError
from vitdecomp_alignment.cli.segment.comparison import Comparison
from vitdecomp_alignment.cli.segment.show import comparison_json
from vitdecomp_alignment.cli.segment.table import MeasureTable

COLUMNS = ("table", "method", "measure", "value", "low", "high", "n")


def as_markdown(found: Comparison, command: str) -> str:
    """Write the tables as a page, with all that they depend on."""
    lines = [f"# Heatmaps of {found.model}", ""]
    lines += [f"- {name}: {text}" for name, text in found.facts().items()]
    lines += [f"- made by vitdecomp {__version__}: `{command}`"]
    for table in found.tables:
        lines += ["", f"## {table.name}", "", f"{table.definition[0].upper()}{table.definition[1:]}.", "", _grid(table)]
    notes = [line for note in found.notes() for line in ("", note)]
    return "\n".join([*lines, *notes, ""])


def as_csv(found: Comparison, command: str) -> str:
    """Write a row for each measure of each method."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(row for each in found.tables for row in each.rows())
    return text.getvalue()


def as_json(found: Comparison, command: str) -> str:
    """Write all of it as plain values."""
    return json.dumps({**comparison_json(found, None), "command": command}, indent=1) + "\n"


KINDS: Mapping[str, Callable[[Comparison, str], str]] = {".md": as_markdown, ".csv": as_csv, ".json": as_json}


def check_table_place(place: Path) -> None:
    """Raise an error if no table can be written there, before any work is done.

    Raises:
        SpecError: a file of another kind. OutputError: it cannot be written.
    """
    if place.suffix.lower() not in KINDS:
        raise SpecError(f"tables are written as FILE{', FILE'.join(KINDS)}, not as {place.name}")
    check_file(place)


def write_table(found: Comparison, place: Path, command: str) -> Path:
    """Write the tables to a file, of the kind that its ending tells.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic(place) as partial:
        partial.write_text(KINDS[place.suffix.lower()](found, command), encoding="utf-8")
    return place


def _grid(table: MeasureTable) -> str:
    """Write a table as Markdown, by the same renderer."""
    grid = table.table(table.measures)
    grid.box, grid.padding = MARKDOWN, (0, 1)
    text = io.StringIO()
    PlainConsole(file=text, width=10_000).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())
