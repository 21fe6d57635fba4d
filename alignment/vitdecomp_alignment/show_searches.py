"""What was found set out for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vitdecomp_alignment.searches import Searched


def show_search(console: Console, found: Searched) -> None:
    """Print images with their scores, the nearest first."""
    table = Table()
    for heading, right in (("score", True), ("row", True), ("image", False)):
        table.add_column(heading, justify="right" if right else "left", no_wrap=right)
    for hit in found.hits:
        table.add_row(f"{hit.score:.3f}", str(hit.row), Text(str(hit.path)))
    console.print(f"{found.title}: {found.asked}", markup=False)
    console.print(table)
