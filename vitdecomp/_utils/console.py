"""Text for a terminal: strangers' names printed as they are, numbers never cut off, progress beside results."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from vitdecomp._utils.progress import Progress

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
# Control characters have pictures of their own; C1 controls, line separators, marks that turn the direction of writing,
# and bytes of a file's name that are not UTF-8 have none.
_SHOWN = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"},
    0x7F: "\N{SYMBOL FOR DELETE}",
    **dict.fromkeys(
        (*range(0x80, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)), UNKNOWN
    ),
}
_WORDS = 24  # columns of words are not squeezed below this width while numbers are shown in full


def printable(text: str) -> str:
    """Replace what a terminal would obey rather than show: escape sequences, other controls, text direction."""
    return text.translate(_SHOWN)


class PlainConsole(Console):
    """A console on which text is text: no markup, no emoji codes, no escape sequences but its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, with what a terminal would obey made visible."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def stdout() -> Console:
    """Return where results go."""
    return PlainConsole()


def stderr(quiet: bool = False) -> Console:
    """Return where all else goes; nowhere, if quiet."""
    return PlainConsole(stderr=True, quiet=quiet)


def tolerate_encoding() -> None:
    """Let streams write what their encoding lacks, such as `‖` in ASCII, as an escape instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def status(text: str, quiet: bool) -> AbstractContextManager[Any]:
    """Show on stderr what is being done, while it lasts."""
    return stderr(quiet).status(Text(text))


@contextmanager
def progress_bar(text: str, quiet: bool) -> Iterator[Progress]:
    """Show progress on stderr: a bar in a terminal, a line for every tenth in a log."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = stderr(quiet)
    if not console.is_terminal:
        yield _tenths(console, text)
        return
    description = TextColumn("{task.description}", markup=False)
    with Bar(
        description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tenths(console: Console, text: str) -> Progress:
    told = -1

    def progress(done: int, total: int) -> None:
        nonlocal told
        if 10 * done // total > told:
            told = 10 * done // total
            console.print(f"{text} {done} of {total}")

    return progress


class PlainTable(Table):
    """A table that measures its cells as the console will show them, so that none is cut."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row as rich does."""
        super().add_row(*map(_shown, cells), **options)


def _shown(cell: RenderableType | None) -> RenderableType | None:
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, Text):
        cell = cell.copy()
        cell.plain = printable(cell.plain)
    return cell


def make_table(*columns: str, words: Collection[str], title: str | None = None) -> Table:
    """Make a table whose columns of words give way on a narrow terminal, so that the numbers can be read."""
    title = None if title is None else printable(title)
    table = PlainTable(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 3, 0, 0), header_style="dim"
    )
    for column in columns:
        wraps = column in words
        table.add_column(printable(column), justify="left" if wraps else "right", no_wrap=not wraps, overflow="fold")
    return table


def make_list(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Make a list of named values."""
    table = PlainTable(box=None, padding=(0, 2), pad_edge=False, show_header=False, collapse_padding=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def print_table(console: Console, table: Table, *, indent: int = 0) -> None:
    """Print a table with all its digits: it may be wider than the terminal, whose lines then wrap."""
    from rich.padding import Padding

    before = console.width
    try:
        console.width = max(before, indent + _needed_width(console, table))
        console.print(Padding(table, (0, 0, 0, indent), expand=False) if indent else table)
    finally:
        console.width = before


def _needed_width(console: Console, table: Table) -> int:
    """Characters that a table needs to show every number in full."""
    from rich.measure import Measurement

    unbounded, width = console.options.update(width=100_000), 0
    for column in table.columns:
        cells = [Measurement.get(console, unbounded, cell) for cell in (column.header, *column.cells)]
        width += max(size.maximum if column.no_wrap else min(size.maximum, _WORDS) for size in cells)
    _, right, _, left = table.padding
    return width + len(table.columns) * (left + right)
