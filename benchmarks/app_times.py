"""How long `vitdecomp app` takes to answer at first, on a made-up store of many images.

    python benchmarks/app_times.py --out docs/benchmarks     50,000 images, 52 components of dimension 512
    python benchmarks/app_times.py --quick

A server is started for each view, with an empty cache, and asked over HTTP; what it needs to start does not count.
The files of the store are in the system's memory by then. `--out` writes `app_times.md` and `app_times.json`.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.request import Request, urlopen

import numpy as np
import torch
import typer
from machine import Machine
from one_line_errors import one_line_errors
from rich.console import Console
from sheets import Result, Sheet, number, write
from synthetic import Sizes
from synthetic import write as write_store
from vitdecomp_alignment import LinearAlign

from vitdecomp import Store, VitdecompError, load_model
from vitdecomp.provenance import Origin
from vitdecomp.store.metadata import Metadata

CLIP, MODEL = "scenes:clip", "scenes:deit"
FIRST = "blocks.0.attn.head.2"
LATENT, LEARNT, PATIENCE = 128, 1000, 300.0  # dimensions of the made-up CLIP; images that maps are learnt from; seconds
VIEWS: dict[str, tuple[str, dict[str, Any]]] = {
    "Model by size": ("model", {}),
    "Model by score": ("model", {"measure": "score"}),
    "Model by name": ("model", {"measure": "name"}),
    "Component": ("component", {"component": FIRST, "text": "a forest"}),
    "Search in a feature": ("search", {"text": "a forest", "feature": "location", "beside": False}),
    "Search in the whole embedding": ("search", {"text": "a forest", "beside": False}),
}
HEADING = (
    "First answers of the page",
    "Seconds until a server of `vitdecomp app` that was just started, with an empty cache, has answered a view. "
    "The store is made up; its files are in the system's memory. {machine}",
)


@dataclass(frozen=True)
class Made(Sizes):
    """Sizes of a store that claims to be of an embedded model, so that maps may lead from it to a CLIP."""

    @property
    def metadata(self) -> Metadata:
        return replace(Sizes.metadata.fget(self), model=MODEL)  # type: ignore[attr-defined]


def latent(rows: range) -> np.ndarray:
    """Draw what all components of an image have in common, in place of its embedding by a CLIP."""
    return np.random.default_rng([1, rows.start]).standard_normal((len(rows), LATENT), dtype=np.float32)


def drawn(index: int, rows: range, rank: int) -> np.ndarray:
    """Draw coefficients that depend on it, and noise."""
    mixing = np.random.default_rng([2, index]).standard_normal((LATENT, rank), dtype=np.float32) / LATENT**0.5
    noise = np.random.default_rng([3, index, rows.start]).standard_normal((len(rows), rank), dtype=np.float32)
    return np.tanh(latent(rows) @ mixing) + 0.3 * noise


def make(folder: Path, n: int, sizes: Made) -> None:
    """Write a store, and maps from it to the embedded CLIP."""
    write_store(str(folder / "s.lance"), n, sizes, drawn)
    store, clip = Store(str(folder / "s.lance")), load_model(CLIP)
    few = min(n, LEARNT)
    aligner = LinearAlign().fit(store.take(range(few)), torch.from_numpy(latent(range(n))[:few]))
    aligner.origin_, aligner.target_ = store.origin, Origin.of(clip.module, clip.spec, "embedding")
    aligner.save(folder / "maps.safetensors")


def ask(url: str, view: str, body: dict[str, Any]) -> float:
    """Return the seconds until a view is answered.

    Raises:
        VitdecompError: it is not, with the server's reason.
    """
    began = time.perf_counter()
    job = told(f"{url}/api/ask/{view}", body)
    while job["state"] in ("waiting", "running"):
        job = told(f"{url}/api/jobs/{job['id']}?wait=0.5")
    if job["state"] != "done":
        raise VitdecompError(f"the page does not answer {view} {body}: {job.get('error') or job['state']}")
    return time.perf_counter() - began


def told(url: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the server for JSON."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"content-type": "application/json"}), timeout=PATIENCE) as answer:  # noqa: S310
        return json.load(answer)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Start a server with an empty cache, and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as cache:
        words = ["vitdecomp", "app", f"--store={folder / 's.lance'}", f"--maps={folder / 'maps.safetensors'}"]
        words += ["--features=scenes", f"--port={port}", f"--cache={cache}", "--no-browser", "--quiet"]
        process = subprocess.Popen(words)
        try:
            wait(process, f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def wait(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait until the server answers.

    Raises:
        VitdecompError: it ended, or takes too long.
    """
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            told(f"{url}/api/session")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise VitdecompError(f"the server has not started (exit code {process.poll()}); what it said stands above")


def measure(folder: Path) -> dict[str, float]:
    """Return seconds by view, each of a server of its own."""
    seconds = {}
    for name, (view, body) in VIEWS.items():
        with server(folder) as url:
            seconds[name] = ask(url, view, body)
    return seconds


def main(
    n: Annotated[int, typer.Option("-n", min=50, help="Images.")] = 50_000,
    blocks: Annotated[int, typer.Option(min=1, help="Each has 12 heads and an MLP.")] = 4,
    rank: Annotated[int, typer.Option(min=1, help="Dimensions that a head fills.")] = 64,
    dimension: Annotated[int, typer.Option(min=1, help="Of the representation.")] = 512,
    quick: Annotated[bool, typer.Option("--quick", help="A small store: 300 images, one block, dimension 32.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for app_times.md and app_times.json.")] = None,
) -> None:
    """Measure how long the page takes to answer at first."""
    if quick:
        n, blocks, rank, dimension = 300, 1, 8, 32
    sizes, machine = Made(12 * blocks, rank, dimension, blocks), Machine.here("cpu", torch.get_num_threads())
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        make(Path(folder), n, sizes)
        size = sum(file.stat().st_size for file in Path(folder, "s.lance").rglob("*") if file.is_file())
        seconds = measure(Path(folder))
        title = f"{n:,} images, {13 * blocks} components of dimension {dimension}, {size / 1e6:.0f} MB"
        sheet = Sheet("First answers", ("view", "seconds"), [[name, number(s)] for name, s in seconds.items()])
        Console().print(title, sheet.rich(), "")
        if out is not None:
            settings = {"n": n, "blocks": blocks, "rank": rank, "dimension": dimension}
            heading = (HEADING[0], HEADING[1].format(machine=machine.sentence()))
            write(out, "app_times", heading, settings, {title: Result({"seconds": seconds, "bytes": size}, [sheet])})


if __name__ == "__main__":
    typer.run(main)
