"""`vitdecomp export`: write a store as one file that other tools open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from vitdecomp._utils.console import make_list, print_table
from vitdecomp.cli.command import command
from vitdecomp.cli.options import ResultOptions

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Choose what is written, and where."""

    out: Annotated[Path, Option(help="File: .parquet, .arrow, .feather or .csv for a table, .npz for arrays.")]
    layout: Annotated[str, Option(help="Of a table: long (a row for each image and component), or wide.")] = "long"
    quantities: Annotated[
        tuple[str, ...],
        Option("--quantity", help="norm, share or vector; repeatable; default: norm and share, in arrays vector."),
    ] = ()
    components: Annotated[tuple[str, ...], Option(help="Name or pattern; repeatable.")] = ()
    embedding: Annotated[bool, Option("--embedding", help="The representations too, in a wide table or arrays.")] = (
        False
    )
    limit: Annotated[int | None, Option(min=1, help="Take no more images than this.")] = None


@command
def export(
    store: Annotated[str, Argument(help="Store, such as store.lance or s3://bucket/store.lance.")],
    *,
    what: ExportOptions,
    result: ResultOptions,
) -> None:
    """Write the contributions of a store as one table or as arrays, for pandas, polars, numpy and viewers of data."""
    from vitdecomp.export import export as write
    from vitdecomp.store.store import Store

    with result.progress("exporting") as progress:
        done = write(
            Store(store),
            what.out,
            layout=what.layout,
            quantities=what.quantities,
            components=what.components or ("*",),
            embedding=what.embedding,
            limit=what.limit,
            progress=progress,
        )
    written = {**asdict(done), "path": str(done.path), "quantities": list(done.quantities)}
    result.show(written, lambda console: show_exported(console, written))


def show_exported(console: Console, written: Mapping[str, Any]) -> None:
    """Print what was written."""
    rows = [
        ("written to", f"{written['path']}, {written['bytes']:,} bytes"),
        ("rows", f"{written['rows']:,}, of {written['images']:,} images and {written['components']:,} components"),
        ("quantities", ", ".join(written["quantities"])),
    ]
    print_table(console, make_list(rows))
