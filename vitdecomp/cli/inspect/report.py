"""A report set out for a terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vitdecomp._utils.console import make_list, make_table, print_table
from vitdecomp.report import OpenedGate, Report
from vitdecomp.trace.coverage import UNREACHED

GOOD, BAD, DIM = "bold green", "bold red", "dim"


def show_report(console: Console, report: Report, source: str) -> None:
    """Print a report; `source` says which images it was made with."""
    parts: list[tuple[str, Table]] = [
        ("Components by block", _blocks(report)),
        ("Gates: non-linearities that the paths lead through, frozen", _gates(report)),
        ("Not reached", _missing(report)),
    ]
    print_table(console, _summary(report, source))
    for title, table in parts:
        if table.row_count:
            console.print("", Text(title, "bold"), sep="\n")
            print_table(console, table, indent=2)
    console.print("", Text("Operations on the paths", "bold"), sep="\n")
    console.print(Padding(_operations(report), (0, 0, 1, 2), expand=False))


def show_axes(console: Console, report: Report) -> None:
    """Print which axis of each source is what, and by which evidence; blocks that are alike share a row."""
    found: dict[tuple[str, ...], int] = {}
    for each in report.axes:
        evidence = (f"{label}: {why}" for label, why in each.evidence.items())
        row = (_numbered(each.source), each.operation, str(each), _numbered("\n".join(evidence)))
        found[row] = found.get(row, 0) + 1
    table = make_table("source", "number", "operation", "axes", "evidence", words={"source", "axes", "evidence"})
    for (source, *rest), n in found.items():
        table.add_row(source, str(n), *rest)
    console.print(Text("Axes of the sources", "bold"))
    print_table(console, table, indent=2)


def _numbered(text: str) -> str:
    """Leave out the numbers of blocks, such as in `blocks.*.attn`."""
    return re.sub(r"\.\d+(?=[.\s,]|$)", ".*", text)


def exactness(report: Report) -> Text:
    """Return how well the sum holds."""
    mark, style = report.sum_holds, GOOD if report.exact else BAD
    detail = f": relative error {report.error:.1e}, allowed {report.tolerance:.0e}"
    return Text.assemble((mark, style), detail)


def coverage(report: Report) -> Text:
    """Return how many of the model's attentions, MLPs and conv blocks were reached."""
    reached = sum(s.status != UNREACHED for s in report.sites)
    mark, style = ("complete", GOOD) if report.covered else ("INCOMPLETE", BAD)
    return Text.assemble((mark, style), f": {reached} of {len(report.sites)} attentions, MLPs and conv blocks")


def _summary(report: Report, source: str) -> Table:
    kinds = ", ".join(f"{n} {kind}" for kind, n in report.kinds.items())
    heads = ", ".join(str(n) for n in sorted(set(report.heads.values())))
    attentions = f"{len(report.heads)} with {heads} heads" if report.heads else "none"
    rows: list[tuple[str, RenderableType]] = [
        ("model", Text(report.model, "bold")),
        ("weights", report.weights),
        ("representation", f"{report.output}, {report.dimension} dimensions, {report.dtype}"),
        ("images", source),
        ("components", f"{len(report.components)}: {kinds}"),
        ("attentions", attentions),
        ("sum", exactness(report)),
        ("coverage", coverage(report)),
        ("traced", f"in {report.seconds:.1f} s with {report.front_end}"),
        *(("note", note) for note in report.notes),
    ]
    return make_list(rows)


@dataclass(frozen=True, slots=True)
class _Row:
    """One residual block, or what lies outside of all blocks."""

    name: str
    cells: tuple[str, ...]


def _blocks(report: Report) -> Table:
    kinds = [kind for kind in report.kinds if kind != "attn"]
    table = make_table("block", "heads", *kinds, words={"block"})
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
    """Fold runs of blocks that are made alike into one row."""
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
    table = make_table("operation", "number", "why", "where", words={"why", "where"})
    for (op, why), gates in found.items():
        where = ", ".join(gate.module for gate in gates if gate.module)
        table.add_row(op, str(sum(gate.count for gate in gates)), why, where)
    return table


def _missing(report: Report) -> Table:
    """Parts that are missing for one reason as one row."""
    found: dict[str, list[str]] = {}
    for site in report.missing:
        found.setdefault(site.why, []).append(site.name)
    table = make_table("number", "why", "parts", words={"why", "parts"})
    for why, names in found.items():
        table.add_row(str(len(names)), why, ", ".join(names))
    return table


def _operations(report: Report) -> Text:
    counts: Counter[str] = Counter()
    for op, n in report.ops.items():
        counts[_short(op)] += n
    return Text(", ".join(f"{op} {n}" for op, n in counts.most_common()) or "none")


def _short(op: str) -> str:
    """Return an operation without its namespace and its overload."""
    parts = op.removeprefix("<built-in function ").removesuffix(">").removeprefix("aten.").split(".")
    return parts[1] if len(parts) > 2 else parts[0]  # others than ATen's have their namespace in front
