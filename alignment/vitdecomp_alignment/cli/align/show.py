"""An alignment set out for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from vitdecomp._utils.console import make_list, make_table, print_table
from vitdecomp_alignment.align.alignments import HELD_OUT, Judged
from vitdecomp_alignment.aligners.linear import PURPOSES
from vitdecomp_alignment.evaluation.judge import summarised

# Figure of a judgement -> heading, and how it is written.
COLUMNS: Mapping[str, tuple[str, str]] = {
    "distance": ("distance", "{:.4f}"),
    "exact": ("match", "{:.1%}"),
    "approximate": ("near match", "{:.1%}"),
    "orthogonality": ("‖WᵀW − kI‖", "{:.3f}"),
    "identity": ("moved", "{:.2%}"),
    "shuffled": ("shuffled", "{:.4f}"),
    "seconds": ("seconds", "{:.1f}"),
}
DISTANCES = {
    "distance": "distance (1 - cosine) on {n:,} images held out",
    "constant": "  of one vector for all images",
    "shuffled": "  to the vectors of other images",
}


def show_alignment(
    console: Console, summary: Mapping[str, Any], seconds: Mapping[str, float], tables: Sequence[Judged]
) -> None:
    """Print what was fitted, how long every part of it took, and the report if there is one."""
    console.print(
        f"{summary['aligner']} of {summary['components']} components of {summary['model']} "
        f"({summary['dimension']} to {summary['clip_dimension']} dimensions) to {summary['clip']}, "
        f"fitted to {summary['images'] - int(summary['metrics'].get(f'{HELD_OUT}images', 0)):,} images"
    )
    print_table(console, make_list(_figures(summary)), indent=2)
    console.print(summary["verdict"])
    console.print(f"The {PURPOSES[summary['shows']]}.")
    console.print("seconds")
    spent = {**seconds, "all": sum(seconds.values())}
    print_table(console, make_list((name, f"{value:.1f}") for name, value in spent.items()), indent=2)
    console.print(f"wrote {summary['out']}")
    for table in tables:
        console.print()
        print_table(console, _judged(table))
        console.print(_chance(table))


def _figures(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Distances on images held out, beside the controls, and whatever else the aligner measured."""
    metrics = summary["metrics"]
    told = [
        (words.format(n=int(metrics.get(f"{HELD_OUT}images", 0))), f"{metrics[HELD_OUT + key]:.4f}")
        for key, words in DISTANCES.items()
        if HELD_OUT + key in metrics
    ]
    own = [(name.replace("_", " "), f"{value:.4g}") for name, value in metrics.items() if not name.startswith(HELD_OUT)]
    return [*told, *own]


def _judged(judged: Judged) -> Table:
    figures = summarised(judged.rows)
    known = [key for key in COLUMNS if key in next(iter(figures.values()))]
    seeds = len({row.seed for row in judged.rows})
    title = f"{judged.model} to {judged.clip}: {judged.images:,} images, {seeds} seed{'s' * (seeds > 1)}"
    table = make_table("aligner", *(COLUMNS[key][0] for key in known), words={"aligner"}, title=title)
    for method, row in figures.items():
        table.add_row(method, *(row[key].written(COLUMNS[key][1]) for key in known))
    return table


def _chance(judged: Judged) -> str:
    """Describe what the figures would be by chance."""
    row = next(iter(summarised(judged.rows).values()))
    told = [f"distance of one vector for all images {row['constant'].mean:.4f}"]
    if "exact" in row:
        told.append(f"match {row['exact_chance'].mean:.1%}, near match {row['approximate_chance'].mean:.1%}")
    return f"by chance: {'; '.join(told)}"
