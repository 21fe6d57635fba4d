"""Explanations set out for a terminal, and as plain values."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rich.console import Console

from vitdecomp._utils.console import make_table, print_table
from vitdecomp.heatmaps.caption import caption
from vitdecomp.heatmaps.heatmaps import Audit, labels_of
from vitdecomp_alignment.cli.explain.explanations import Explanation
from vitdecomp_alignment.cli.heatmaps.methods import left_out

COLUMNS = ("score", "map", "constants", "no place", "residual", "gate gap")
LEGEND = (
    "score = map + constants + no place (class and register tokens), where a method adds up; residual: what is missing",
    "gate gap: how much of the gradient goes through attention patterns, activations and norms, which are held fixed",
)


def show_explanation(console: Console, found: Explanation) -> None:
    """Print the scores with their audits, and what was written."""
    table = make_table(
        "image",
        "direction",
        "method",
        *COLUMNS,
        words={"image", "direction", "method"},
        title=f"Heatmaps of {found.model}",
    )
    for row, name in enumerate(found.names):
        for method, maps in found.maps.items():
            for column, label in enumerate(labels_of(maps.labels, maps.grid.shape[1])):
                said = caption(maps, row, column)
                table.add_row(name, label, method, *(said.get(key, "") for key in COLUMNS))
    print_table(console, table)
    console.print("", *LEGEND, sep="\n")
    for line in left_out(found.refused):
        console.print(line)
    if found.components:
        console.print(f"components: {', '.join(found.components)}")
    if found.written:
        first, *beside = found.written
        more = f" and {len(beside)} images beside it" if beside else ""
        console.print(f"wrote {first}{more}")


def explanation_json(found: Explanation) -> dict[str, Any]:
    """Give the scores and audits as plain values; what is not known is null."""
    maps = {}
    for method, each in found.maps.items():
        audit = {f.name: _plain(getattr(each.audit, f.name).tolist()) for f in fields(Audit)}
        directions = list(labels_of(each.labels, each.grid.shape[1]))
        shares = {
            kind: {"names": list(parts.names), "shares": parts.shares.tolist()}
            for kind, parts in (("layers", each.layers), ("components", each.components))
            if parts is not None
        }
        told = {"directions": directions, "grid": list(each.grid.shape[-2:]), "signed": each.signed}
        maps[method] = {**told, **audit, **shares}
    return {
        "model": found.model,
        "images": list(found.names),
        "skipped": list(found.skipped),
        "components": list(found.components),
        "maps": maps,
        "refused": dict(found.refused),
        "written": [str(path) for path in found.written],
    }


def _plain(rows: list[list[float]]) -> list[list[float | None]]:
    return [[None if value != value else value for value in row] for row in rows]  # noqa: PLR0124 - NaN
