"""Descriptions set out for a terminal, and as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from vitdecomp._utils.console import make_table, print_table
from vitdecomp_alignment.evaluation.judge import Spread
from vitdecomp_alignment.textspan.span_sizes import SpanSize

LEGEND = (
    "share: of the variance of all components over these images",
    "explained: of the component's own variance, by its texts; behind each text, what it adds",
    "constants do not vary and are left out",
)
Rows = Sequence[Mapping[str, Any]]


def show_descriptions(console: Console, found: Mapping[str, Any], rows: Rows, effects: Sequence[SpanSize]) -> None:
    """Print the texts of every component, and what more texts and larger pools would explain."""
    title = f"{found['model']} in words of {found['clip']}: {found['images']:,} images, {found['pool']:,} texts"
    table = make_table("component", "share", "explained", "texts", words={"component", "texts"}, title=title)
    for row in rows:
        words = ", ".join(f"{text['text']} ({text['explained']:.0%})" for text in row["texts"])
        table.add_row(row["component"], f"{row['share']:.1%}", f"{row['explained']:.0%}", words)
    print_table(console, table)
    console.print("", *LEGEND, sep="\n")
    if effects:
        print_table(console, _effects(effects))


def _effects(effects: Sequence[SpanSize]) -> Table:
    sizes = list(dict.fromkeys(row.m for row in effects))
    title = "Share of the variance explained, by texts in the pool and in the basis"
    table = make_table("pool", *(f"m = {m}" for m in sizes), words=(), title=title)
    for pool in dict.fromkeys(row.pool for row in effects):
        cells = {row.m: Spread(row.weighted, row.weighted_spread) for row in effects if row.pool == pool}
        table.add_row(f"{pool:,}", *(cells[m].written("{:.1%}") for m in sizes))
    return table


def descriptions_json(found: Mapping[str, Any], rows: Rows, effects: Sequence[SpanSize]) -> dict[str, Any]:
    """Give the figures as plain values."""
    return {**found, "components": list(rows), "sizes": [asdict(row) for row in effects]}
