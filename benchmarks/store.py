"""How fast a store is read, by columns and by rows, and how much it takes on disk.

    python benchmarks/store.py                               20,000 images, 150 components of 64 of 768 dimensions
    python benchmarks/store.py -n 100000 --json store.json
    python benchmarks/store.py --place s3://bucket/benchmark.lance

The coefficients are random numbers, written as `vitdecomp extract` writes them. Of every reading the median of several
is told; the files are in the system's memory by then.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table as Shown
from synthetic import Sizes
from synthetic import write as write_store

from vitdecomp import Store
from vitdecomp.datasets import Picture
from vitdecomp.store.lance import local_path
from vitdecomp.store.rows import Chunk
from vitdecomp.store.writer import StoreWriter

FEW = 5  # components of a query
SCATTERED = 256  # images of a batch in random order


def measure(place: str, *, repeat: int = 7) -> dict[str, float]:
    """Seconds of each way to read."""
    opened = Store(place)
    n, rng = len(opened), np.random.default_rng(1)
    few = [opened.components[i] for i in np.linspace(0, len(opened.components) - 1, FEW).astype(int)]
    scattered = rng.choice(n, min(SCATTERED, n), replace=False).tolist()

    def columns(chosen: Any) -> None:
        for component in chosen:
            opened.coefficients(component, range(n))

    def raw() -> None:
        names = [name for name in opened._images.schema.names if name.startswith("component")]
        opened._images.rows(names)

    ways: dict[str, Callable[[], Any]] = {
        "open": lambda: Store(place),
        f"{FEW} columns, all images": lambda: columns(few),
        "all columns, all images": lambda: columns(opened.components),
        "all columns, all images, as they are stored": raw,
        f"take {min(256, n)} consecutive images": lambda: opened.take(range(min(256, n))),
        f"take {len(scattered)} scattered images": lambda: opened.take(scattered),
        "fingerprint": opened.fingerprint,
    }
    return {name: _median(way, repeat) for name, way in ways.items()}


def write_speed(place: str, sizes: Sizes, n: int = 256) -> float:
    """Contributions of images that are encoded and written in a second, without what the model takes."""
    rng = np.random.default_rng(2)
    maps = rng.standard_normal((sizes.components, sizes.rank, sizes.dimension)).astype(np.float32)
    x = rng.standard_normal((sizes.components, n, sizes.rank)).astype(np.float32)
    values = torch.from_numpy((x @ maps).swapaxes(0, 1).copy())
    names, error = [f"{i}.png" for i in range(n)], torch.zeros(n, dtype=torch.float64)
    writer = StoreWriter(place)
    for part in range(2):  # the first time bases are found, and the second time is like all others
        pictures = [Picture(f"{part}/{name}") for name in names]
        began = time.perf_counter()
        writer.write(sizes.metadata, Chunk(pictures, names, names, values, error))
    return n / (time.perf_counter() - began)


def main(
    n: Annotated[int, typer.Option("-n", min=1, help="Images.")] = 20000,
    components: Annotated[int, typer.Option(min=FEW, help="Components.")] = 150,
    rank: Annotated[int, typer.Option(min=1, help="Dimensions that a component spans.")] = 64,
    dimension: Annotated[int, typer.Option(min=2, help="Length of a contribution.")] = 768,
    place: Annotated[str | None, typer.Option(help="Where to write the store; default: a temporary folder.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file too.")] = None,
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        where = place or f"{temporary}/store.lance"
        sizes = Sizes(components, rank, dimension)
        write_store(where, n, sizes)
        seconds = measure(where)
        written = write_speed(f"{temporary}/written.lance", sizes)
        found = {"images": n, **asdict(sizes), "bytes": _size(where), "written_per_second": written, "seconds": seconds}
    _show(found)
    if json_ is not None:
        json_.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _median(way: Callable[[], Any], repeat: int) -> float:
    taken = []
    for _ in range(repeat):
        began = time.perf_counter()
        way()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _size(place: str) -> int | None:
    root = local_path(place)
    return None if root is None else sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def _show(found: dict[str, Any]) -> None:
    table = Shown(box=None)
    table.add_column("")
    table.add_column("ms", justify="right")
    for name, seconds in found["seconds"].items():
        table.add_row(name, f"{1000 * seconds:,.1f}")
    console = Console()
    console.print(f"{found['images']:,} images, {found['components']} components of {found['rank']} dimensions")
    console.print(table)
    console.print(
        f"{found['bytes'] or 0:,} bytes; {found['written_per_second']:,.0f} images encoded and written a second"
    )


if __name__ == "__main__":
    typer.run(main)
