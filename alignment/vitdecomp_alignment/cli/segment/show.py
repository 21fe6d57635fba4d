"""Comparisons set out for a terminal, and as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from vitdecomp._utils.console import print_table
from vitdecomp_alignment.cli.segment.comparison import Comparison


def show_comparison(console: Console, found: Comparison, written: Path | None) -> None:
    """Print the tables, what they are of, and what was written."""
    for name, text in found.facts().items():
        console.print(f"{name}: {text}")
    for table in found.tables:
        console.print("", f"{table.name}: {table.definition}", sep="\n")
        for part in table.parts(console.width):
            console.print()
            print_table(console, part)
    last = [*found.notes(), *([] if written is None else [f"wrote {written}"])]
    if last:
        console.print("", *last, sep="\n")


def comparison_json(found: Comparison, written: Path | None) -> dict[str, Any]:
    """Give all measures as plain values; what is not defined is null."""
    bootstrap = found.bootstrap
    return {
        "model": found.model,
        "weights": found.weights,
        "masks": found.data.told,
        "format": found.data.kind,
        "explained": found.explained,
        "crop": found.crop,
        "images": found.images,
        "maps": found.maps,
        "skipped": list(found.skipped),
        "components": list(found.components),
        "seed": bootstrap.seed,
        "bootstrap": bootstrap.replicates,
        "confidence": bootstrap.confidence,
        "tables": {table.name: table.plain() for table in found.tables},
        "refused": dict(found.refused),
        "written": None if written is None else str(written),
    }
