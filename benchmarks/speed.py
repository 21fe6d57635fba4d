r"""What a decomposition costs, as a ratio to the plain forward pass of the same model on the same batch.

    python benchmarks/speed.py                                          five models, batch 8, two threads
    python benchmarks/speed.py --model timm:vit_base_patch16_224 --batch 32 --device cuda --dtype bfloat16

The plain pass and every task are run in turn, so that what else the machine does hits them alike; a ratio is the median
over the rounds of a task's time divided by that of the plain pass in the same round. Weights are random, the plain pass
is the model's own code in `torch.inference_mode`. Memory is the peak of a process of its own for each task: resident
memory on a CPU, allocated memory on a GPU, both without what the process holds before the first pass.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from sheets import Result, Sheet, write
from torch import Tensor

from vitdecomp import Decomposer
from vitdecomp.prepare import Ready, Request, prepare

MODELS = (
    "timm:vit_base_patch16_224",
    "timm:vit_base_patch14_dinov2",
    "open_clip:ViT-B-16",
    "timm:swin_base_patch4_window7_224",
    "timm:maxvit_small_tf_224",
)
SIZES = {"timm:vit_base_patch14_dinov2": 224}  # instead of 518
PLAIN = "plain"
MANY = 100  # texts


@dataclass(frozen=True)
class Setting:
    """One model on one machine."""

    model: str
    batch: int
    device: str
    dtype: str
    threads: int
    rounds: int


@dataclass(frozen=True)
class Bench:
    """A model that is fitted, and images."""

    ready: Ready
    dec: Decomposer
    images: Tensor
    traced: float

    @classmethod
    def of(cls, setting: Setting) -> Bench:
        torch.set_num_threads(setting.threads)
        request = Request(
            setting.model, True, device=setting.device, dtype=setting.dtype, image_size=SIZES.get(setting.model)
        )
        ready = prepare(request)
        size = SIZES.get(setting.model) or getattr(ready.loaded, "input_size", None) or 224
        shape = (setting.batch, 3, size, size) if isinstance(size, int) else (setting.batch, *size)
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(ready.device, ready.dtype)
        began = time.perf_counter()
        dec = Decomposer(ready.loaded, tolerance=float("inf")).fit(images[:2])
        return cls(ready, dec, images, time.perf_counter() - began)

    def directions(self, count: int) -> Tensor:
        d = self.dec.report_.dimension
        return torch.randn(count, d, generator=torch.Generator().manual_seed(1)).to(self.images)


Task = Callable[[Bench], Any]


def plain(bench: Bench) -> Any:
    with torch.inference_mode():
        return bench.ready.loaded.representation()(bench.images)


def push(bench: Bench) -> Any:
    return bench.dec.transform(bench.images)


def pull(by: Any, count: int = 1) -> Task:
    return lambda bench: bench.dec.attribute(bench.images, bench.directions(count), by=by)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        PLAIN: plain,
        "heads": push,
        "one direction, heads": pull("head"),
        "one direction, heads x tokens": pull(("head", "token")),
        "one direction, tokens": pull("token"),
        "one direction, neurons": pull("neuron"),
        f"{MANY} directions, heads": pull("head", MANY),
    }
)


def times(bench: Bench, tasks: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of every task in every round, after one that does not count."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for round_ in range(rounds + 1):
        for name in tasks:
            _wait(bench)
            began = time.perf_counter()
            TASKS[name](bench)
            _wait(bench)
            if round_:
                found[name].append(time.perf_counter() - began)
    return found


def _wait(bench: Bench) -> None:
    if bench.images.is_cuda:
        torch.cuda.synchronize()


def peak(setting: Setting, task: str) -> float:
    """Bytes that a task takes at its peak, in a process of its own."""
    words = [sys.executable, __file__, "--peak", task, *_words(setting)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _words(setting: Setting) -> list[str]:
    return [word for name, value in asdict(setting).items() for word in (f"--{name}", str(value))]


def own_peak(setting: Setting, task: str) -> float:
    """The same in this process."""
    bench = Bench.of(setting)
    if bench.images.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        TASKS[task](bench)
        return float(torch.cuda.max_memory_allocated() - before)
    TASKS[PLAIN](Bench(bench.ready, bench.dec, bench.images[:1], 0.0))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    before = _resident("VmRSS")
    TASKS[task](bench)
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024.0 * next(float(line.split()[1]) for line in lines if line.startswith(field))


def measure(setting: Setting, memory: bool) -> Result:
    """Ratios of one model."""
    bench = Bench.of(setting)
    seconds = times(bench, tuple(TASKS), setting.rounds)
    ratios = {name: float(np.median(np.divide(seconds[name], seconds[PLAIN]))) for name in TASKS}
    bytes_ = {name: peak(setting, name) for name in TASKS} if memory else {}
    rows = [
        [
            name,
            f"{1000 * np.median(seconds[name]):.0f}",
            f"{ratios[name]:.3f}",
            *([f"{bytes_[name] / 2**20:.0f}", f"{bytes_[name] / bytes_[PLAIN]:.2f}"] if memory else []),
        ]
        for name in TASKS
    ]
    header = ["task", "ms", "x plain", *(["MiB", "x plain"] if memory else [])]
    notes = [f"{len(bench.dec.components_)} components; traced in {bench.traced:.1f} s"]
    figures = {"seconds": seconds, "ratios": ratios, "bytes": bytes_, "traced": bench.traced}
    return Result(figures, [Sheet(f"{setting.model}, batch {setting.batch}", header, rows)], notes)


def main(  # noqa: PLR0913, PLR0917 - one for each setting; typer names them
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable.")] = None,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="Of a CPU.")] = 2,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    memory: Annotated[bool, typer.Option("--memory", help="Measure memory too, in processes of their own.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for speed.md and speed.json.")] = None,
    peak: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Time decompositions against the plain forward pass."""
    if peak is not None:
        typer.echo(own_peak(Setting((model or [""])[0], batch, device, dtype, threads, rounds), peak))
        return
    console, results = Console(width=110), {}
    for spec in model or MODELS:
        results[spec] = measure(Setting(spec, batch, device, dtype, threads, rounds), memory)
        for sheet in results[spec].sheets:
            console.print(sheet.rich())
        console.print(*results[spec].notes, "\n")
    if out is not None:
        heading = (
            "What a decomposition costs",
            "Ratios to the plain forward pass, the median over rounds run in turn.",
        )
        write(out, "speed", heading, {"batch": batch, "device": device, "dtype": dtype, "threads": threads}, results)


if __name__ == "__main__":
    typer.run(main)
