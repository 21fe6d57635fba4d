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
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import torch
import typer
from rich.console import Console
from rich.table import Table as Shown

from vitdecomp import Component, Store
from vitdecomp.columns import BASES, IMAGES, bases_table, lists, schema_of
from vitdecomp.datasets import Picture
from vitdecomp.encoding import Encoding
from vitdecomp.header import Header
from vitdecomp.tables import Table, local_path
from vitdecomp.writer import Chunk, StoreWriter

CHUNK = 4096  # rows that are written together
FEW = 5  # components of a query
SCATTERED = 256  # images of a batch in random order


def synthetic(place: str, n: int, *, components: int, rank: int, dimension: int, seed: int = 0) -> None:
    """Write a store of random coefficients, each component in a random basis."""
    rng = np.random.default_rng(seed)
    named = tuple(Component(f"blocks.{i // 12}.attn.head.{i % 12}", "attn") for i in range(components))
    header = Header("random:store", "0", "none", "embedding", "head", None, "float32", "float16", dimension, named)
    bases = (np.linalg.qr(rng.standard_normal((dimension, rank)))[0].astype(np.float32) for _ in named)
    encodings = [Encoding(dimension, basis, "float16") for basis in bases]
    Table(f"{place}/{BASES}").replace(bases_table(header, dict(enumerate(encodings)), "float32"))
    images, schema = Table(f"{place}/{IMAGES}"), schema_of(header, encodings)
    for start in range(0, n, CHUNK):
        rows = _rows(range(start, min(start + CHUNK, n)), schema, rng)
        images.append(rows) if start else images.replace(rows)
    images.tidy(alone=True)
    images.set(complete="true")


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


def write_speed(place: str, *, components: int, rank: int, dimension: int, n: int = 256) -> float:
    """Contributions of images that are encoded and written in a second, without what the model takes."""
    rng = np.random.default_rng(2)
    named = tuple(Component(f"blocks.{i // 12}.attn.head.{i % 12}", "attn") for i in range(components))
    header = Header("random:store", "0", "none", "embedding", "head", None, "float32", "float16", dimension, named)
    maps = rng.standard_normal((components, rank, dimension)).astype(np.float32)
    x = rng.standard_normal((components, n, rank)).astype(np.float32)
    values = torch.from_numpy((x @ maps).swapaxes(0, 1).copy())
    names, error = [f"{i}.png" for i in range(n)], torch.zeros(n, dtype=torch.float64)
    writer = StoreWriter(place)
    for part in range(2):  # the first time bases are found, and the second time is like all others
        pictures = [Picture(f"{part}/{name}") for name in names]
        began = time.perf_counter()
        writer.write(header, Chunk(pictures, names, names, values, error))
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
        sizes = {"components": components, "rank": rank, "dimension": dimension}
        synthetic(where, n, **sizes)
        seconds = measure(where)
        written = write_speed(f"{temporary}/written.lance", **sizes)
        found = {"images": n, **sizes, "bytes": _size(where), "written_per_second": written, "seconds": seconds}
    _show(found)
    if json_ is not None:
        json_.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _rows(rows: range, schema: pa.Schema, rng: np.random.Generator) -> pa.Table:
    columns = []
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            drawn = rng.standard_normal((len(rows), field.type.list_size), dtype=np.float32)
            columns.append(lists(drawn.astype(field.type.value_type.to_pandas_dtype())))
        else:
            drawn_of = {"error": 0.0, "label": None, "groups": None}
            columns.append(pa.array([drawn_of.get(field.name, f"{row}.png") for row in rows], field.type))
    return pa.Table.from_arrays(columns, schema=schema)


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
