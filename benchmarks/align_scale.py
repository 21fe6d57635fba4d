r"""How long `vitdecomp align` takes on many images, stage by stage, and what memory.

    python benchmarks/align_scale.py                                 50,000 images, 64 heads of 64 and a rest of 768
    python benchmarks/align_scale.py -n 5000 --method 'closed form' --out results
    python benchmarks/align_scale.py --method 'published schedule' --place /tmp/s.lance

The store is made up, with the columns that `vitdecomp extract` writes: causes that all components share, each with a
mixture of its own, and noise; CLIP's vectors, of 512 numbers, are a mixture of the same causes and noise. Each method
runs as a user runs it, in a process of its own, whose peak of memory is told. `CompAlign` is what `vitdecomp align`
does: the closed form, and then training until the images held out show no gain, or ten epochs are over. `published
schedule` begins at random maps, holds no images out and takes one epoch; in the components' own coordinates, or, as
published, in the whole space.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from sheets import Result, Sheet, write
from synthetic import Sizes
from synthetic import write as write_store

from vitdecomp import Store
from vitdecomp.store.lance import FRAGMENT

MODEL, CLIP = "random:store", "made:clip"
DIMENSION = 512  # of CLIP's vectors
CAUSES = 24  # that all components and CLIP's vectors share
METHODS: dict[str, tuple[str, ...]] = {
    "closed form": ("--method", "closed-form"),
    "CompAlign": (),
    "published schedule": ("--set", "init=random", "--set", "epochs=1", "--set", "validation_fraction=0"),
    "published, whole space": (
        "--set", "init=random", "--set", "epochs=1", "--set", "validation_fraction=0", "--set", "coordinates=full",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Images, heads and their width, dimensions of the model, threads."""

    n: int
    heads: int
    width: int
    dimension: int
    threads: int

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.heads, self.width, self.dimension, full=1)


def causes(start: int, n: int) -> np.ndarray:
    return np.random.default_rng([0, start]).standard_normal((n, CAUSES), dtype=np.float32)


def caused(index: int, rows: range, rank: int) -> np.ndarray:
    """Draw a component's coefficients: a mixture of the causes, and noise."""
    mixture = np.random.default_rng([1, index]).standard_normal((CAUSES, rank), dtype=np.float32)
    noise = np.random.default_rng([2, index, rows.start]).standard_normal((len(rows), rank), dtype=np.float32)
    found: np.ndarray = causes(rows.start, len(rows)) @ mixture + 2 * noise + 1
    return found


def seen(n: int) -> Iterator[np.ndarray]:
    """Yield CLIP's vectors: another mixture of the same causes, and noise."""
    mixture = np.random.default_rng(3).standard_normal((CAUSES, DIMENSION), dtype=np.float32)
    for start in range(0, n, FRAGMENT):
        some = min(FRAGMENT, n - start)
        noise = np.random.default_rng([4, start]).standard_normal((some, DIMENSION), dtype=np.float32)
        yield causes(start, some) @ mixture + 2 * noise


def make(place: str, settings: Settings) -> None:
    """Write the store, with CLIP's vectors in it."""
    write_store(place, settings.n, settings.sizes, caused)
    Store(place).add_vectors(CLIP, torch.from_numpy(np.concatenate([*seen(settings.n)])))


def made(place: str, settings: Settings) -> Store:
    """Open the store at a place, written by another process if it is not there."""
    if not Path(place).exists():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            other.submit(make, place, settings).result()
    return Store(place)


def run(place: str, words: tuple[str, ...], threads: int) -> dict[str, Any]:
    """Run one alignment; return what it reports, its seconds from start to end, and its peak of memory."""
    with tempfile.TemporaryDirectory() as folder:
        out, said = Path(folder) / "maps.safetensors", Path(folder) / "said.json"
        command = [sys.executable, "-m", "vitdecomp", "align", MODEL, "--clip", CLIP, "--store", place, "--json"]
        began = time.perf_counter()
        with said.open("w") as stdout:
            child = subprocess.Popen(
                [*command, "--out", str(out), *words],
                stdout=stdout,
                env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
            )
            _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise typer.Exit(child.returncode)
        spent = {"whole": time.perf_counter() - began, "processors": used.ru_utime + used.ru_stime}
        return {**json.loads(said.read_text()), **spent, "memory": used.ru_maxrss / 2**20}


def tabled(name: str, found: dict[str, Any], n: int) -> Sheet:
    """Seconds of every part, and images in a second."""
    parts = {**found["seconds"], "starting Python": found["whole"] - sum(found["seconds"].values())}
    rows = [[part, f"{seconds:.1f}", f"{100 * seconds / found['whole']:.0f}%"] for part, seconds in parts.items()]
    rows.append(["all", f"{found['whole']:.1f}", f"{n / found['whole']:,.0f} images a second"])
    rows.append(["all, of the processors", f"{found['processors']:.1f}", ""])
    return Sheet(name, ("part", "seconds", "share"), rows)


def machine() -> str:
    """Describe the processor, the cores that may be used, and the system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{models[0] if models else platform.processor()}, {cores} cores, {platform.system()}"


def main(
    n: Annotated[int, typer.Option("-n", min=100, help="Images.")] = 50000,
    heads: Annotated[int, typer.Option(min=1, help="Components besides the rest.")] = 64,
    width: Annotated[int, typer.Option(min=1, help="Dimensions that a head spans.")] = 64,
    dimension: Annotated[int, typer.Option(min=2, help="Length of a contribution.")] = 768,
    method: Annotated[list[str] | None, typer.Option(help=f"{', '.join(METHODS)}; repeatable; default: all.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each alignment.")] = 2,
    place: Annotated[
        str | None, typer.Option(help="Of the store, written if it is not there; default: temporary.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for align_scale.md and align_scale.json.")] = None,
) -> None:
    """Time alignments of a large store."""
    settings, console = Settings(n, heads, width, dimension, threads), Console()
    results: dict[str, Result] = {}
    head = f"{n:,} images, {heads} heads of {width} and a rest of {dimension} dimensions, CLIP's vectors of {DIMENSION}"
    with tempfile.TemporaryDirectory() as temporary:
        where = place or f"{temporary}/store.lance"
        made(where, settings)
        for name in method or METHODS:
            found = run(where, METHODS[name], threads)
            sheet = tabled(name, found, n)
            steps = found["metrics"].get("steps")
            notes = [f"Memory: {found['memory']:.2f} GiB at most", f"Cosine to CLIP: {found['metrics']['cosine']:.3f}"]
            notes += [f"Steps: {steps:,.0f}"] if steps else []
            results[name] = Result(found, [sheet], notes)
            console.print(sheet.rich(), *(f"{note}." for note in notes), "", sep="\n")
            if out is not None:
                heading = ("Aligning many images", f"{head}; on {machine()}.")
                write(out, "align_scale", heading, asdict(settings), results)


if __name__ == "__main__":
    typer.run(main)
