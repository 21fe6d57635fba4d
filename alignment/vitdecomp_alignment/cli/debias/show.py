"""Cue removal set out for a terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from vitdecomp._utils.console import make_table, print_table
from vitdecomp_alignment.cli.debias.debiasing import DebiasResult

SHOWN = 10  # components that are named


def show_removal(console: Console, found: DebiasResult) -> None:
    """Print accuracies of groups before and after, the controls, and what was removed."""
    runs = found.runs
    names = found.test.group_names
    counts = sorted({len(run.components) for run in runs})
    title = (
        f"{found.model} without {'/'.join(map(str, counts))} components, in words of {found.clip}: "
        f"{len(found.train):,} training and {len(found.test):,} test images, {len(runs)} seed{'s' * (len(runs) > 1)}"
    )
    first = "representation"
    table = make_table(first, "worst group", "average", *names, words={first}, title=title)
    for row in found.rows():
        own = {"before": "before", "after": "after"}.get(row["representation"])
        groups = [
            f"{np.mean([getattr(run, own).groups[g] for run in runs]):.1%}" if own else "" for g in range(len(names))
        ]
        label = row["representation"] if own else f"as many: {row['representation']}"
        table.add_row(
            label, *(f"{mean:.1%} ±{deviation:.1%}" for mean, deviation in (row["worst"], row["average"])), *groups
        )
    print_table(console, table)
    gone = runs[0].components
    named = ", ".join(f"{c.name} ({found.scores[c]:+.2f})" for c in gone[:SHOWN])
    more = f", and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
    console.print(f"removed, with spurious minus core score: {named}{more}")
