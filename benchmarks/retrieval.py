r"""How long a search takes, and what memory: contributions to a million images that are read from disk.

    python benchmarks/retrieval.py --folder /tmp/columns                1,000,000 images, 65 components of rank 64
    python benchmarks/retrieval.py --folder /tmp/columns -n 100000 --out results

The coefficients are made up: float16, a file for each component. Only `--written` components are on disk, and the
others are the same files under other names, so that the data of a million images take 8 MB a component and thousand
images. Prints the times of a first and of later queries, of batches, and of a FAISS index with its recall.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from jaxtyping import Float
from numpy.lib.format import open_memmap
from rich.console import Console
from sheets import Result, Sheet, write
from torch import Tensor

from vitdecomp import Component, Contributions, Query, Retriever, Scope, VitdecompError
from vitdecomp.files import make_directory
from vitdecomp.retrieval.index import Index, recall

CHUNK = 20_000  # images that are made at a time
HIDDEN = 24  # causes that all components share, so that near images exist
REPEATS = 7


@dataclass(frozen=True)
class Columns:
    """Coefficients of made-up heads, mapped from files of float16 that are read where they are touched."""

    folder: Path
    n: int
    count: int
    rank: int = 64
    dimension: int = 512

    @cached_property
    def components(self) -> tuple[Component, ...]:
        heads = 13
        return tuple(
            Component(f"blocks.{i // heads}.attn.head.{i % heads}", "attn", head=i % heads) for i in range(self.count)
        )

    @cached_property
    def files(self) -> list[np.ndarray]:
        return [np.load(path, mmap_mode="c") for path in sorted(self.folder.glob("*.npy"))]

    @cached_property
    def bases(self) -> dict[Component, Tensor]:
        source = torch.Generator().manual_seed(0)
        draw = (torch.randn(self.dimension, self.rank, generator=source) for _ in self.components)
        return {c: torch.linalg.qr(x)[0] for c, x in zip(self.components, draw, strict=True)}

    def __len__(self) -> int:
        return self.n

    def fingerprint(self) -> str:
        return f"{self.n} {self.count} {self.rank} {len(self.files)}"

    def basis(self, component: Component) -> Float[Tensor, "d r"]:
        return self.bases[component]

    def coefficients(self, component: Component, rows: range) -> Float[Tensor, "n r"]:
        file = self.files[self.components.index(component) % len(self.files)]
        return torch.from_numpy(file[rows.start : rows.stop])

    def take(self, rows: Sequence[int]) -> Contributions:
        parts = [
            torch.cat([self.coefficients(c, range(row, row + 1)) for row in rows]).float() @ self.basis(c).T
            for c in self.components
        ]
        return Contributions(torch.stack(parts, 1), self.components, torch.zeros(len(rows), dtype=torch.float64))


def made(folder: Path, n: int, count: int, written: int) -> Columns:
    """The columns in a folder, made if they are not there."""
    make_directory(folder)
    columns = Columns(folder, n, count)
    for index in range(written):
        path = folder / f"{index:03}.npy"
        if not path.exists() or np.load(path, mmap_mode="r").shape != (n, columns.rank):
            column(path, index, n, columns.rank)
    return columns


def column(path: Path, index: int, n: int, rank: int) -> None:
    """One file: causes that all components see, each with a mixture of its own, and noise."""
    mixture = np.random.default_rng([1, index]).standard_normal((HIDDEN, rank), dtype=np.float32)
    file = open_memmap(path, "w+", np.float16, (n, rank))
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        causes = np.random.default_rng([0, start]).standard_normal((size, HIDDEN), dtype=np.float32)
        noise = np.random.default_rng([2, index, start]).standard_normal((size, rank), dtype=np.float32)
        file[start : start + size] = causes @ mixture + 2 * noise + 1
    file.flush()


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter(), time.process_time()
    yield
    into[name] = time.perf_counter() - began[0]
    into[f"{name}, of the processors"] = time.process_time() - began[1]


def median(action: Callable[[int], object]) -> tuple[float, float]:
    """Seconds that an action takes, the median of several: by the clock, and of the processors."""
    spent: list[tuple[float, float]] = []
    for i in range(REPEATS):
        began = time.perf_counter(), time.process_time()
        action(i)
        spent.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return float(np.median([s[0] for s in spent])), float(np.median([s[1] for s in spent]))


def memory() -> tuple[float, float]:
    """GiB: the most that was in use at once, mapped files included, and what is in use now without these."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own = float(status["RssAnon"].split()[0]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, own


def measure(columns: Columns, chosen: int, cache: Path, kind: str) -> Result:
    """Times of searches by a few components."""
    names = tuple(c.name for c in columns.components[-chosen:])
    scope, found = Scope(components=names), dict[str, float]()
    retriever = Retriever(columns, cache=cache)
    queries = [Query(image=row) for row in np.random.default_rng(0).integers(0, len(columns), 64).tolist()]
    with timed(found, "first query"):
        retriever.search_many(queries[:1], scope)
    clock, processors = median(lambda i: retriever.search_many(queries[i : i + 1], scope))
    found["a later query, median"], found["the same, of the processors"] = clock, processors
    with timed(found, "64 queries at once"):
        exact = retriever.nearest(queries, scope)[1]
    with timed(found, "first query of a new process (lengths kept on disk)"):
        Retriever(columns, cache=cache).search_many(queries[:1], scope)
    most, own = memory()
    result = Result({"seconds": found, "memory": {"most": most, "own": own}})
    result.notes.append(f"memory without the index: {most:.2f} GiB with mapped files, {own:.2f} GiB without")
    if kind != "none":
        with timed(found, "writing out and indexing"):
            index = Index.of(retriever, scope, None if kind == "usual" else kind)
        found["a query to the index, median"] = median(lambda i: index.nearest(queries[i : i + 1]))[0]
        share = recall(index.nearest(queries)[1], exact)
        result.figures["index"] = {"kind": index.kind, "recall": share, "memory": memory()[0]}
        result.notes.append(f"index {index.kind}: recall@10 {share:.3f}, {memory()[0]:.2f} GiB")
    rows = [[name, f"{seconds:.3f}"] for name, seconds in found.items()]
    title = f"{len(columns):,} images, {columns.count} components of rank {columns.rank}, {chosen} searched: seconds"
    result.sheets.append(Sheet(title, ("what", "seconds"), rows))
    return result


def main(
    folder: Annotated[Path, typer.Option(help="For the columns, which stay there.")],
    n: Annotated[int, typer.Option("-n", min=100, help="Images.")] = 1_000_000,
    components: Annotated[int, typer.Option(min=1, help="In all.")] = 65,
    written: Annotated[int, typer.Option(min=1, help="Of them with a file of their own.")] = 5,
    chosen: Annotated[int, typer.Option(min=1, help="That are searched by.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Of torch and FAISS.")] = 2,
    kind: Annotated[str, typer.Option(help="The index as FAISS writes it, usual or none.")] = "usual",
    out: Annotated[Path | None, typer.Option(help="Folder for Markdown and JSON.")] = None,
) -> None:
    """Measure searches among many images."""
    console = Console()
    torch.set_num_threads(threads)
    try:
        columns = made(folder, n, components, written)
        cache = folder / "lengths"
        for kept in cache.glob("*"):
            kept.unlink()
        result = measure(columns, chosen, cache, kind)
        for sheet in result.sheets:
            console.print(sheet.rich(), "")
        for note in result.notes:
            console.print(note, highlight=False)
        if out is not None:
            settings: dict[str, Any] = {"n": n, "components": components, "chosen": chosen, "threads": threads}
            write(out, "retrieval", ("Retrieval", f"{threads} threads."), settings, {"columns": result})
    except VitdecompError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, soft_wrap=True, style="red")
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
