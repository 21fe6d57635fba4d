"""`vitdecomp extract`: write the contributions of images to a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from vitdecomp._utils.console import make_list, print_table, progress_bar
from vitdecomp.cli.command import command
from vitdecomp.cli.options import (
    By,
    ExecutorOptions,
    LoadingOptions,
    Model,
    PathOptions,
    ResultOptions,
    SingleModelOptions,
)

if TYPE_CHECKING:
    from rich.console import Console

    from vitdecomp.extract import ExtractResult


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """What is written where."""

    images: Annotated[Path, Option(help="Folder, CSV with paths, webdataset, or Hugging Face data set on disk.")]
    out: Annotated[str, Option(help="Store, such as store.lance or s3://bucket/store.lance.")]
    by: By = "head"
    chunk_size: Annotated[int, Option(min=1, help="Images that are written together.")] = 256
    precision: Annotated[str, Option(help="float16, float32 or float64, of what is written.")] = "float16"


@command
def extract(
    model: Model,
    *,
    store: StoreOptions,
    paths: PathOptions,
    loading: SingleModelOptions,
    reading: LoadingOptions,
    executor: ExecutorOptions,
    result: ResultOptions,
) -> None:
    """Write the contributions of images to a store; run it again to go on, or to add more images."""
    from vitdecomp.distributed.process_group import ranks
    from vitdecomp.extract import ExtractConfig
    from vitdecomp.extract import extract as write_store

    options = loading.of(model)
    job = ExtractConfig(
        store.images,
        store.by,
        paths.output,
        paths.through or None,
        store.chunk_size,
        reading.limit,
        store.precision,
    )
    with ranks() as mine, progress_bar("extracting", result.quiet or not mine.first) as progress:
        done = write_store(
            options,
            job,
            store.out,
            resume=executor.resume,
            loading=reading.loading,
            progress=progress,
            executor=executor.executor,
            address=executor.address,
        )
    if mine.first:
        written = summary(store.out, done)
        result.show(written, lambda console: show_extraction(console, written))


def summary(out: Path | str, done: ExtractResult) -> dict[str, Any]:
    """Sum up an extraction in plain values.

    Args:
        out: where the store is.
        done: as `vitdecomp.extract.extract` returns it.
    """
    store = done.store
    return {
        "out": str(out),
        "model": store.origin.model,
        "images": len(store),
        "added": done.added,
        "skipped": list(done.skipped),
        "components": len(store.components),
        "dimension": store.dimension,
        "dtype": store.metadata.dtype,
        "precision": store.metadata.precision,
        "bytes_per_image": store.bytes_per_image,
        "error": float(store.error().max()),
        "loss": max(store.losses().values()),
    }


def show_extraction(console: Console, written: Mapping[str, Any]) -> None:
    """Print what was written."""
    skipped = written["skipped"]
    rows = [
        ("written to", written["out"]),
        ("images", f"{written['images']}, {written['added']} of them new"),
        *([("skipped", f"{len(skipped)}: {', '.join(skipped)}")] if skipped else []),
        ("components", f"{written['components']}, {written['dimension']} dimensions, {written['dtype']}"),
        ("written as", f"{written['precision']}, {written['bytes_per_image']:,} bytes an image"),
        ("largest error", f"{written['error']:.1e} of the representation, as computed"),
        ("largest loss", f"{written['loss']:.1e} of a contribution, by writing it"),
    ]
    print_table(console, make_list(rows))
