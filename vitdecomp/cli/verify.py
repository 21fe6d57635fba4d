"""`vitdecomp verify`: compare a store with its checksums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from vitdecomp._utils.console import make_list, print_table
from vitdecomp.cli.command import command
from vitdecomp.cli.options import ResultOptions

if TYPE_CHECKING:
    from rich.console import Console


@command
def verify(
    store: Annotated[str, Argument(help="Store, such as store.lance or s3://bucket/store.lance.")],
    *,
    result: ResultOptions,
) -> None:
    """Read all of a store, and compare it with its checksums; a damaged file is named, with exit code 2."""
    from vitdecomp.store.verification import verify as verify_store

    with result.progress("verifying") as progress:
        verified = {"store": store, **asdict(verify_store(store, progress=progress))}
    result.show(verified, lambda console: show_verified(console, verified))


def show_verified(console: Console, verified: Mapping[str, Any]) -> None:
    """Print what was compared."""
    images = f"{verified['images']:,}"
    if verified["unfinished"]:
        images += ", the last complete version; more are being added, or a process was killed: run `extract` again"
    rows = [
        ("store", verified["store"]),
        ("images", images),
        ("components", f"{verified['components']:,}, {verified['dimension']:,} dimensions, {verified['precision']}"),
        ("checksums", _checksums(verified)),
        ("largest error", f"{verified['error']:.1e} of a representation, as computed"),
        ("largest loss", f"{verified['total_loss']:.1e} of a representation, by writing it"),
        ("", f"{verified['loss']:.1e} of a contribution"),
    ]
    print_table(console, make_list(rows))


def _checksums(verified: Mapping[str, Any]) -> str:
    files, unknown = verified["files"], verified["unknown"]
    if not files:
        return "no checksums recorded: not verified; sums agree with the representations"
    return f"of {files:,} files are right" + (f"; {unknown:,} have none recorded" if unknown else "")
