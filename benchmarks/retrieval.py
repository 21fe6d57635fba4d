r"""How long a search takes, and what memory: contributions to a million images in a store.

    python benchmarks/retrieval.py                                  1,000,000 images, 65 components of rank 64
    python benchmarks/retrieval.py -n 20000 --place /tmp/s.lance --out results

The coefficients are made up, in a store as `vitdecomp extract` writes it, and near images exist. A process of its own
writes it, so that memory is that of searching. Prints the times of a first and of later queries, of batches, and of a
FAISS index with its recall. A million images take 11 GB on disk, which are freed unless `--place` keeps them.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from one_line_errors import one_line_errors
from rich.console import Console
from sheets import Result, Sheet, write
from synthetic import Sizes
from synthetic import write as write_store

from vitdecomp import Query, Retriever, Scope, Store
from vitdecomp.retrieval.index import Index, recall

HIDDEN = 24  # causes that all components share, so that near images exist
REPEATS = 7
PROBES = (1, 4, 16, 64, 256)  # cells of an inverted file that a query looks into


@dataclass(frozen=True)
class Settings:
    """What is measured: queries by a few of the components, with so many threads, and an index as FAISS calls it."""

    n: int
    components: int
    rank: int
    dimension: int
    chosen: int
    threads: int
    index: str

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.components, self.rank, self.dimension)


def caused(index: int, rows: range, rank: int) -> np.ndarray:
    """Causes that all components see, each with a mixture of its own, and noise."""
    n, start = len(rows), rows.start
    mixture = np.random.default_rng([1, index]).standard_normal((HIDDEN, rank), dtype=np.float32)
    causes = np.random.default_rng([0, start]).standard_normal((n, HIDDEN), dtype=np.float32)
    noise = np.random.default_rng([2, index, start]).standard_normal((n, rank), dtype=np.float32)
    found: np.ndarray = causes @ mixture + 2 * noise + 1
    return found


def made(place: str, settings: Settings) -> Store:
    """Open the store at a place, written by another process if it is not there."""
    if not Path(place).exists():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            other.submit(write_store, place, settings.n, settings.sizes, caused).result()
    return Store(place)


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


def measure(place: str, settings: Settings, cache: Path) -> Result:
    """Time searches by a few components."""
    source, found = made(place, settings), dict[str, float]()
    scope = Scope(components=tuple(c.name for c in source.components[-settings.chosen :]))
    retriever, n = Retriever(source, cache=cache), len(source)
    queries = [Query(image=row) for row in np.random.default_rng(0).integers(0, n, 64).tolist()]
    with timed(found, "first query"):
        retriever.search_many(queries[:1], scope)
    clock, processors = median(lambda i: retriever.search_many(queries[i : i + 1], scope))
    found["a later query, median"], found["a later query, median, of the processors"] = clock, processors
    with timed(found, "64 queries at once"):
        exact = retriever.nearest(queries, scope)[1]
    with timed(found, "first query of a new process (lengths are kept)"):
        Retriever(Store(place), cache=cache).search_many(queries[:1], scope)
    most, own = memory()
    result = Result({"seconds": found, "memory": {"most": most, "own": own}})
    result.notes.append(f"Memory without the index: {most:.2f} GiB at most, with all libraries")
    if settings.index != "none":
        with timed(found, "an index: writing features out and indexing them"):
            index = Index.of(retriever, scope, None if settings.index == "usual" else settings.index)
        result.sheets.append(probed(index, queries, exact, result.figures))
        result.notes.append(f"Index {index.kind}: {memory()[0]:.2f} GiB at most while it was made and searched")
    names = [name for name in found if ", of the processors" not in name]
    rows = [[name, f"{found[name]:.3f}", f"{found[f'{name}, of the processors']:.3f}"] for name in names]
    title = f"{n:,} images, {settings.components} components of rank {settings.rank}, {settings.chosen} searched"
    result.sheets.insert(0, Sheet(title, ("what", "seconds", "of the processors"), rows))
    return result


def probed(index: Index, queries: list[Query], exact: torch.Tensor, figures: dict[str, Any]) -> Sheet:
    """Recall and time of an index by the cells that a query looks into; an index without cells is what it is."""
    held: Any = index.held
    several = [p for p in PROBES if p <= held.nlist] if hasattr(held, "nprobe") else [0]
    rows, told = [], {}
    for probes in several:
        if probes:
            held.nprobe = probes
        seconds = median(lambda i: index.nearest(queries[i : i + 1]))[0]
        share = recall(index.nearest(queries)[1], exact)
        told[probes] = {"recall": share, "seconds": seconds}
        rows.append([str(probes or "all"), f"{share:.3f}", f"{1000 * seconds:.1f}"])
    figures["index"] = {"kind": index.kind, "probes": told}
    return Sheet(
        f"Index {index.kind}", ("cells looked into", "recall of the ten nearest", "milliseconds a query"), rows
    )


def main(  # noqa: PLR0913, PLR0917 - one parameter per option
    n: Annotated[int, typer.Option("-n", min=100, help="Images.")] = 1_000_000,
    components: Annotated[int, typer.Option(min=1, help="In all.")] = 65,
    rank: Annotated[int, typer.Option(min=1, help="Dimensions that a component spans.")] = 64,
    dimension: Annotated[int, typer.Option(min=2, help="Length of a contribution.")] = 512,
    chosen: Annotated[int, typer.Option(min=1, help="That are searched by.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Of torch and FAISS.")] = 2,
    index: Annotated[str, typer.Option(help="As FAISS writes it, usual or none.")] = "usual",
    place: Annotated[Path | None, typer.Option(help="Keep the store here; default: a temporary folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for Markdown and JSON.")] = None,
) -> None:
    """Measure searches among many images."""
    console, settings = Console(), Settings(n, components, rank, dimension, chosen, threads, index)
    torch.set_num_threads(threads)
    with one_line_errors():
        with tempfile.TemporaryDirectory() as temporary:
            where = str(place or f"{temporary}/store.lance")
            result = measure(where, settings, Path(temporary) / "lengths")
        for sheet in result.sheets:
            console.print(sheet.rich(), "")
        for note in result.notes:
            console.print(note, highlight=False)
        if out is not None:
            head = (
                f"Made-up coefficients in a store, searched with {threads} threads by image queries. *Of the "
                "processors* is the time of all threads together: on a machine with other work to do it says more "
                "than the clock."
            )
            write(out, "retrieval", ("Searching many images", head), vars(settings), {f"{n:,} images": result})


if __name__ == "__main__":
    typer.run(main)
