"""Hits set out for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from vitdecomp._utils.console import make_table, print_table
from vitdecomp_alignment.cli.search.searches import SearchResult


def show_search(console: Console, found: SearchResult) -> None:
    """Print images with their scores, the nearest first."""
    table = make_table("score", "row", "image", words={"image"})
    for hit in found.hits:
        table.add_row(f"{hit.score:.3f}", str(hit.row), Text(str(hit.path)))
    console.print(f"{found.title}: {found.asked}")
    print_table(console, table)
    for note in found.notes:
        console.print(f"{note} (--keep-reference keeps them)")
