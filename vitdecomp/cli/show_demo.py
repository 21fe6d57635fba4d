"""The demo set out for a terminal, while it runs and when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vitdecomp.demo import Demo, Stage


def show_demo(console: Console, demo: Demo, out: Path | None) -> None:
    """Print the findings of the demo, and where its report is."""
    for note in demo.notes:
        console.print(Text(note, "yellow"), "")
    key = Table.grid(padding=(0, 2))
    key.add_column(style="dim")
    key.add_column(justify="right")
    for name, number in demo.key.items():
        key.add_row(name, str(number))
    console.print(Padding(key, (0, 0, 1, 0), expand=False))
    for section in demo.sections.values():
        console.print(Text(section.title, "bold"), Padding(Text(str(section.finding)), (0, 0, 1, 2)))
    if out is not None:
        console.print(Text.assemble("report: ", (str(out / "report.html"), "bold")), soft_wrap=True)


def stages(console: Console) -> Stage:
    """What is done, as lines with their seconds; in a terminal, also while it is done."""

    @contextmanager
    def stage(text: str) -> Iterator[None]:
        began = time.perf_counter()
        with console.status(Text(text)) if console.is_terminal else nullcontext():
            yield
        console.print(f"{text:<28} {time.perf_counter() - began:6.1f} s")

    return stage
