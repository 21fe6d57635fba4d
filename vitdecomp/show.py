"""Reports set out for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vitdecomp.report import OpenedGate, Report
from vitdecomp.trace.coverage import UNREACHED

GOOD, BAD, DIM = "bold green", "bold red", "dim"
SHOWN_STEPS = 12  # columns of a curve at most


def show_report(console: Console, report: Report, source: str) -> None:
    """Print a report; `source` says which images it was made with."""
    parts: list[tuple[str, RenderableType]] = [
        ("", _summary(report, source)),
        ("Components by block", _blocks(report)),
        ("Gates: non-linearities that the paths lead through, frozen", _gates(report)),
        ("Not reached", _missing(report)),
        ("Operations on the paths", _operations(report)),
    ]
    for title, body in parts:
        if isinstance(body, Table) and not body.row_count:
            continue
        console.print(
            Group(Text(title, "bold"), Padding(body, (0, 0, 1, 2), expand=False))
            if title
            else Padding(body, (0, 0, 1, 0), expand=False)
        )


def exactness(report: Report) -> Text:
    """How well the sum holds."""
    mark, style = ("exact", GOOD) if report.exact else ("NOT EXACT", BAD)
    detail = f": relative error {report.error:.1e}, allowed {report.tolerance:.0e}"
    return Text.assemble((mark, style), detail)


def coverage(report: Report) -> Text:
    """How many of the model's attentions, MLPs and conv blocks were reached."""
    reached = sum(s.status != UNREACHED for s in report.sites)
    mark, style = ("complete", GOOD) if report.covered else ("INCOMPLETE", BAD)
    return Text.assemble((mark, style), f": {reached} of {len(report.sites)} attentions, MLPs and conv blocks")


def _summary(report: Report, source: str) -> Table:
    kinds = ", ".join(f"{n} {kind}" for kind, n in report.kinds.items())
    heads = ", ".join(str(n) for n in sorted(set(report.heads.values())))
    attentions = f"{len(report.heads)} with {heads} heads" if report.heads else "none"
    rows: list[tuple[str, RenderableType]] = [
        ("model", Text(report.model, "bold")),
        ("weights", "trained" if report.pretrained else "random, or as they came with the module"),
        ("representation", f"{report.output}, {report.dimension} dimensions, {report.dtype}"),
        ("images", source),
        ("components", f"{len(report.components)}: {kinds}"),
        ("attentions", attentions),
        ("sum", exactness(report)),
        ("coverage", coverage(report)),
        ("traced", f"in {report.seconds:.1f} s with {report.front_end}"),
    ]
    table = Table.grid(padding=(0, 2))
    table.add_column(style=DIM)
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    return table


@dataclass(frozen=True, slots=True)
class _Row:
    """One residual block, or what lies outside of all blocks."""

    name: str
    cells: tuple[str, ...]


def _blocks(report: Report) -> Table:
    kinds = [kind for kind in report.kinds if kind != "attn"]
    table = _table("block", "heads", *kinds, words={"block"})
    heads: dict[str | None, list[int]] = {}
    owner = {c.name.removesuffix(f".head.{c.head}"): c.block for c in report.components if c.head is not None}
    for module, n in report.heads.items():
        heads.setdefault(owner.get(module), []).append(n)
    rows = [
        _Row(block or "outside of blocks", (_counts(heads.get(block, [])), *(str(n[k] or "") for k in kinds)))
        for block, n in report.blocks().items()
    ]
    for row in _folded(rows):
        table.add_row(row.name, *row.cells)
    return table


def _counts(heads: Sequence[int]) -> str:
    return " + ".join(str(n) for n in heads)


def _folded(rows: Iterable[_Row], fewest: int = 3) -> list[_Row]:
    """Runs of blocks that are made alike as one row."""
    folded = []
    for cells, run in groupby(rows, key=lambda row: row.cells):
        names = [row.name for row in run]
        if len(names) < fewest:
            folded += [_Row(name, cells) for name in names]
        else:
            folded.append(_Row(f"{names[0]} to {names[-1]} ({len(names)} blocks, each)", cells))
    return folded


def _gates(report: Report) -> Table:
    """Gates of one kind as one row."""
    found: dict[tuple[str, str], list[OpenedGate]] = {}
    for gate in report.gates:
        found.setdefault((_short(gate.op), gate.why), []).append(gate)
    table = _table("operation", "number", "why", "where", words={"why", "where"})
    for (op, why), gates in found.items():
        where = ", ".join(gate.module for gate in gates if gate.module)
        table.add_row(op, str(sum(gate.count for gate in gates)), why, where)
    return table


def _missing(report: Report) -> Table:
    """Parts that are missing for one reason as one row."""
    found: dict[str, list[str]] = {}
    for site in report.missing:
        found.setdefault(site.why, []).append(site.name)
    table = _table("number", "why", "parts", words={"why", "parts"})
    for why, names in found.items():
        table.add_row(str(len(names)), why, ", ".join(names))
    return table


def _operations(report: Report) -> Text:
    counts: Counter[str] = Counter()
    for op, n in report.ops.items():
        counts[_short(op)] += n
    return Text(", ".join(f"{op} {n}" for op, n in counts.most_common()) or "none")


def _short(op: str) -> str:
    """An operation without its namespace and its overload."""
    name = op.removeprefix("<built-in function ").removesuffix(">").removeprefix("aten.")
    return name.partition(".")[0]


def _table(*columns: str, words: Collection[str]) -> Table:
    """A table whose columns of words give way on a narrow terminal, so that the numbers can be read."""
    table = Table(box=None, padding=(0, 3, 0, 0), header_style=DIM)
    for column in columns:
        table.add_column(column, no_wrap=column not in words, overflow="fold")
    return table


def show_extraction(console: Console, summary: Mapping[str, Any]) -> None:
    """Print what `extract` wrote."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style=DIM)
    table.add_column()
    table.add_row("written to", str(summary["out"]))
    table.add_row("images", f"{summary['images']}, {summary['added']} of them new")
    if summary["skipped"]:
        table.add_row("skipped", ", ".join(summary["skipped"]))
    table.add_row("components", f"{summary['components']}, {summary['dimension']} dimensions, {summary['dtype']}")
    table.add_row("written as", f"{summary['precision']}, {summary['bytes_per_image']:,} bytes an image")
    table.add_row("largest error", f"{summary['error']:.1e} of the representation")
    table.add_row("largest loss", f"{summary['loss']:.1e} of a contribution, by writing it")
    console.print(table)


def show_curves(console: Console, models: Sequence[Mapping[str, Any]]) -> None:
    """Print ablation curves: a table for each model, a row for each order."""
    for found in models:
        images, unit = found["images"], found["unit"]
        title = (
            f"{found['model']}: accuracy of a {found['head']} head on {images['test']:,} images of "
            f"{len(found['classes'])} classes, {unit}s replaced by {found['value']}"
        )
        table = Table(title=title, title_justify="left")
        steps = len(found["curves"][0].accuracy)
        shown = sorted({round(i * (steps - 1) / (min(steps, SHOWN_STEPS) - 1)) for i in range(min(steps, SHOWN_STEPS))})
        table.add_column("order")
        for step in shown:
            table.add_column(f"-{step}" if step else "whole", justify="right")
        for curve in found["curves"]:
            table.add_row(curve.order, *(f"{curve.accuracy[step]:.1%}" for step in shown))
        console.print(table)
