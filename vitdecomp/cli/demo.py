"""`vitdecomp demo`: what the package finds on images whose every factor is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.padding import Padding
from rich.text import Text
from typer import Option

from vitdecomp._utils.console import make_list, print_table, stderr
from vitdecomp.cli.command import command
from vitdecomp.cli.options import Checkpoint, ResultOptions, Strict, WeightOptions

if TYPE_CHECKING:
    from rich.console import Console

    from vitdecomp.demo import Demo, Stage


@dataclass(frozen=True, slots=True)
class SubjectOptions:
    """What the report is about."""

    model: Annotated[str | None, Option(help="A spec; default: the embedded models.")] = None
    images: Annotated[Path | None, Option(help="A folder; default: the embedded world.")] = None
    clip: Annotated[str | None, Option(help="The model whose texts name components; default: scenes:clip.")] = None
    checkpoint: Checkpoint = None
    strict: Strict = False


@command
def demo(
    *,
    out: Annotated[Path | None, Option(help="Folder for report.html and what it is made of.")] = None,
    subject: SubjectOptions,
    weights: WeightOptions,
    result: ResultOptions,
) -> None:
    """Decompose models on images whose every factor is known, and write the findings as one page."""
    from vitdecomp.demo import Options, run_demo

    options = Options(
        subject.model,
        subject.images,
        weights.seed,
        weights.random_weights,
        subject.clip,
        subject.checkpoint,
        weights.image_size,
        subject.strict,
    )
    found = run_demo(options, out, stages(stderr(result.quiet)))
    result.show(found.to_json(), lambda console: show_demo(console, found, out))


def show_demo(console: Console, demo: Demo, out: Path | None) -> None:
    """Print the findings, and where the report is."""
    for note in demo.notes:
        console.print(Text(note, "yellow"), "")
    print_table(console, make_list((name, str(number)) for name, number in demo.key.items()))
    for section in demo.sections.values():
        console.print("", Text(section.title, "bold"), Padding(Text(str(section.finding)), (0, 0, 0, 2)), sep="\n")
    if out is not None:
        console.print("", Text.assemble("report: ", (str(out / "report.html"), "bold")), sep="\n", soft_wrap=True)


def stages(console: Console) -> Stage:
    """Show each part of the work as a line with its seconds; in a terminal, also while it lasts."""

    @contextmanager
    def stage(text: str) -> Iterator[None]:
        began = time.perf_counter()
        with console.status(Text(text)) if console.is_terminal else nullcontext():
            yield
        console.print(f"{text:<28} {time.perf_counter() - began:6.1f} s")

    return stage
