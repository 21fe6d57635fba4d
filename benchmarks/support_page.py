"""The page of the support table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

INTRO = """# Supported models

The smallest member of every family, with random weights and all parameters moved. `python benchmarks/support.py` makes
this page, and goes on where it was stopped. A model that computes some steps in float32 is no more exact than that.

*Blocks*: attentions, MLPs and conv blocks that are components, or that the paths lead through, of those that there are;
the reasons for the others stand below each table. *Opened*: gates that the paths had to be led through. *float64*,
*float32*, *bfloat16*: the largest relative error of the sum. *Fit*: seconds to trace the model on one thread. *All* and
*one*: time of all contributions by head, and of one direction, in plain passes (float32, batch 2, one thread). Models
that were made smaller, or given smaller images, have no such figure, since a pass of theirs costs less than calling it.

All contributions cost about one pass where blocks add to a residual stream that only norms and pools cross. They cost
more where convolutions that mix channels, or products with matrices, lie between the blocks: each component goes
through every one of them. One direction goes through them once.
"""
HEADER = (
    "family",
    "model",
    "components",
    "attentions",
    "heads",
    "blocks",
    "opened",
    "float64",
    "float32",
    "bfloat16",
    "fit",
    "all",
    "one",
)
TITLES = {"timm": "timm", "open_clip": "open_clip", "transformers": "transformers", "torchvision": "torchvision"}


def page(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the page: a table for each library, and under it what is not reached and what is refused."""
    text = [INTRO]
    for library, title in TITLES.items():
        own = {key.partition("/")[2]: row for key, row in rows.items() if key.partition("/")[0] == library}
        if own:
            text += [f"## {title}", summary(own), table(own), *notes(own)]
    return "\n\n".join(part.strip() for part in text) + "\n"


def summary(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Say how many families there are, and how many are complete."""
    ran = [row for row in rows.values() if "error" in row]
    complete = sum(not row["missing"] for row in ran)
    worst = max((row["error"] for row in ran), default=0.0)
    sums = f"the worst sum within {worst:.0e} in float64"
    return f"{len(rows)} families: {len(ran)} run, {sums}; {complete} reach every block."


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the rows that ran."""
    lines = [HEADER, ["---"] * 2 + ["---:"] * (len(HEADER) - 2)]
    lines += [_cells(name, row) for name, row in rows.items() if "error" in row]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(family: str, row: Mapping[str, Any]) -> Sequence[str]:
    errors = row["errors"]
    return (
        _escaped(family),
        _escaped(row["model"].partition(":")[2]) + (" (shrunk)" if row["shrunk"] else ""),
        str(row["components"]),
        str(row["attentions"] or ""),
        ", ".join(map(str, row["heads"])),
        f"{row['blocks'] - row['missing']} of {row['blocks']}",
        str(row["opened"] or ""),
        f"{row['error']:.0e}",
        _error(errors["float32"]),
        _error(errors["bfloat16"]),
        f"{row['seconds']:.0f}",
        *("" if row["shrunk"] else _passes(row[task]) for task in ("push", "pull")),
    )


def _error(value: float | str) -> str:
    return "none" if isinstance(value, str) else f"{value:.0e}"


def _passes(value: float | str) -> str:
    return "none" if isinstance(value, str) else f"{value:.1f}"


def notes(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """List what is not reached, and what is refused, with the reasons."""
    missing = [
        f"- *{_escaped(name)}*, {row['missing']} blocks, such as {_escaped(row['why'][0])}."
        for name, row in rows.items()
        if row.get("missing")
    ]
    refused = [
        f"- *{_escaped(name)}*: {_escaped(row.get('refused') or row['failed'])}."
        for name, row in rows.items()
        if "error" not in row
    ]
    parts = (("Not reached:", missing), ("Refused, or not run:", refused))
    return [f"{title}\n\n" + "\n".join(lines) for title, lines in parts if lines]


def _escaped(text: str) -> str:
    """Keep Markdown's marks as they are."""
    return text.replace("|", "/").replace("_", r"\_").replace("*", r"\*").replace("<", "&lt;")
