"""What benchmarks find: tables for the terminal, for Markdown and for a page of the documentation."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from vitdecomp._utils.files import atomic, make_directory


@dataclass(frozen=True)
class Sheet:
    """A table, for the terminal and for Markdown; so many columns from the left are words, the others numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1

    def rich(self) -> Table:
        table = Table(*self.header, title=self.title, title_justify="left", box=None)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        lines = [self.header, ["---"] * self.words + ["---:"] * (len(self.header) - self.words), *self.rows]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


@dataclass
class Result:
    """What was found of one model."""

    figures: dict[str, Any]
    sheets: list[Sheet] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def number(value: float) -> str:
    """Two decimals, and never -0.00."""
    return f"{round(value, 2) + 0.0:.2f}"


def command() -> str:
    """Return the command that was typed to run this benchmark, from the root of the repository."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def write(
    out: Path, name: str, heading: tuple[str, str], settings: Mapping[str, Any], results: Mapping[str, Result]
) -> None:
    """Write `NAME.md` and `NAME.json` into a folder; the page says which command made it.

    Args:
        out: the folder.
        name: of the files.
        heading: a title, and a sentence below it.
        settings: of the benchmark.
        results: by model.
    """
    make_directory(out)
    title, sentence = heading
    threads = torch.get_num_threads()
    text = [f"# {title}", sentence, f"Made by `{command()}`, with {threads} thread{'s' if threads > 1 else ''}."]
    for spec, result in results.items():
        text += [f"## {spec}", *(sheet.markdown() for sheet in result.sheets), *(f"{note}." for note in result.notes)]
    figures = {spec: {**result.figures, "notes": result.notes} for spec, result in results.items()}
    content = json.dumps({"settings": dict(settings), "models": figures}, indent=1)
    for suffix, written in (("md", "\n\n".join(text)), ("json", content)):
        with atomic(out / f"{name}.{suffix}") as partial:
            partial.write_text(written + "\n", encoding="utf-8")
