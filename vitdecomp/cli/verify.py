"""What `vitdecomp verify` tells of a store that is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console

from vitdecomp._utils.console import make_list, print_table
from vitdecomp.store.verification import Verified


def summary(place: str, found: Verified) -> dict[str, Any]:
    """In plain values."""
    return {"store": place, **asdict(found)}


def show_verified(console: Console, told: Mapping[str, Any]) -> None:
    """Print it."""
    images = f"{told['images']:,}"
    if told["unfinished"]:
        images += ", the last complete version; more are being added, or a process was killed: run `extract` again"
    rows = [
        ("store", told["store"]),
        ("images", images),
        ("components", f"{told['components']:,}, {told['dimension']:,} dimensions, {told['precision']}"),
        ("checksums", _checksums(told)),
        ("largest error", f"{told['error']:.1e} of a representation, as computed"),
        ("largest loss", f"{told['total_loss']:.1e} of a representation, by writing it"),
        ("", f"{told['loss']:.1e} of a contribution"),
    ]
    print_table(console, make_list(rows))


def _checksums(told: Mapping[str, Any]) -> str:
    files, unknown = told["files"], told["unknown"]
    if not files:
        return "no checksums recorded: not verified; sums agree with the representations"
    return f"of {files:,} files are right" + (f"; {unknown:,} have none recorded" if unknown else "")
