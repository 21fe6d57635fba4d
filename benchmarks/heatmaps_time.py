r"""What heatmaps cost, as ratios to the plain forward pass of the same model on the same batch.

    python benchmarks/heatmaps_time.py --out docs/benchmarks
    python benchmarks/heatmaps_time.py --quick

All methods run in turn, each right behind a plain pass of its own; a ratio is the median over rounds. Maps are at the
resolution of the image. Memory is the weights and the most that is allocated beside them, against that of the plain
pass. Weights and images are random. `legrad-torch`, where it is installed, takes one image at a time: the whole batch
is timed.
`--out` writes `heatmaps_time.md` and `heatmaps_time.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import torch
import typer
from bench import Bench, model_of
from machine import Machine, missing
from peers import legrad
from rich.console import Console
from sheets import Result, Sheet, write
from speed_memory import allocated
from speed_tasks import MANY, Run, plain
from timing import PLAIN, Conditions, Row, measured

from vitdecomp import VitdecompError, explain
from vitdecomp._utils.files import check_directory
from vitdecomp.heatmaps.explaining import refusals

LEGRAD = {"legrad-torch, all blocks": 0, "legrad-torch, the last two": -2}  # the first block that counts
HEADING = (
    "What heatmaps cost",
    "Time and memory of `vd.explain` on a fitted `Decomposer`, batch {batch}, as ratios to the plain forward pass of "
    "the same model. Bold: above the limit that stands beside it.",
)


@dataclass(frozen=True)
class Task:
    """One kind of heatmap.

    Attributes:
        method: its name. directions: how many are explained at once. settings: of the method.
        time: what it may cost, by the model's spec, in plain passes. memory: the same for its peak.
    """

    method: str
    directions: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    time: Mapping[str, float] = field(default_factory=dict)
    memory: float = 6.0

    def run(self, bench: Bench, images: int | None = None) -> Run:
        """Prepare it on a batch, or on some of its images."""
        q = bench.directions(self.directions)
        return lambda: explain(bench.dec, bench.images[:images], q, self.method, **self.settings).values


VIT, SWIN, CLIP = "timm:vit_base_patch16_224", "timm:swin_base_patch4_window7_224", "open_clip:ViT-B-16"
MODELS = (VIT, SWIN, CLIP)


def _every(limit: float) -> dict[str, float]:
    return dict.fromkeys(MODELS, limit)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "decompose": Task("decompose", time={VIT: 1.2, SWIN: 1.5, CLIP: 1.2}, memory=3),
        f"decompose, {MANY} directions": Task("decompose", MANY, time=_every(2), memory=3),
        "value": Task("value"),
        "frozen": Task("frozen", time=_every(3)),
        "softened": Task("softened"),
        "legrad, all blocks": Task("legrad", time=_every(4)),
        "legrad, the last two": Task("legrad", settings={"preset": "code"}),
        "chefer": Task("chefer"),
        "rollout": Task("rollout"),
        "raw-attention": Task("raw-attention"),
        "attention-gradcam": Task("attention-gradcam"),
        "gradient-input": Task("gradient-input"),
    }
)


def measure(spec: str, batch: int, conditions: Conditions) -> Result:
    """Time all methods on one model, and take their memory."""
    bench = Bench.load(model_of(spec), batch, conditions)
    refused = refusals(TASKS, lambda name: TASKS[name].run(bench, 1)())
    able = {name: task.run(bench) for name, task in TASKS.items() if name not in refused}
    runs: dict[str, Run] = {PLAIN: plain(bench), **able}
    why = missing("legrad") if spec == CLIP else ""
    if spec == CLIP and not why:
        runs |= {name: legrad(bench, first) for name, first in LEGRAD.items()}
    rows = {row.task: row for row in measured(runs, batch, conditions)}
    weights = sum(t.numel() * t.element_size() for t in bench.module.state_dict().values())
    done = [name for name, row in rows.items() if not row.why]
    peaks = {name: weights + allocated(runs[name], conditions) for name in done}
    lines = [_line(name, rows[name], TASKS.get(name), spec, peaks) for name in rows if name != PLAIN]
    header = ("method", "x plain", "limit", "images/s", "memory, x plain", "limit")
    title = f"{model_of(spec).title}: plain pass {rows[PLAIN].milliseconds:.0f} ms, {peaks[PLAIN] / 2**20:.0f} MiB"
    figures = {name: {"ratio": row.ratio, "ms": row.milliseconds, "why": row.why} for name, row in rows.items()}
    notes = [*refused.values(), *([f"legrad-torch: {why}"] if why else [])]
    return Result({"time": figures, "bytes": peaks}, [Sheet(title, header, lines)], notes)


def _line(name: str, row: Row, task: Task | None, spec: str, peaks: Mapping[str, int]) -> list[str]:
    if row.why:
        return [name, row.why, "", "", "", ""]
    assert row.ratio is not None
    assert row.milliseconds is not None
    time = None if task is None else task.time.get(spec)
    memory = None if task is None else task.memory
    speed = f"{1000 * row.batch / row.milliseconds:.1f}"
    return [name, *_against(row.ratio, time), speed, *_against(peaks[name] / peaks[PLAIN], memory)]


def _against(value: float, limit: float | None) -> tuple[str, str]:
    told = f"{value:.2f}"
    if limit is None:
        return told, ""
    return (f"**{told}**" if value > limit else told), f"{limit:g}"


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable. Default: three models.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 8,
    threads: Annotated[int, typer.Option(min=1, help="Of the processor.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="That count, beside a first one that does not.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="A small model, one round: to see that it works.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for heatmaps_time.md and .json.")] = None,
) -> None:
    """Time every method for heatmaps against the plain forward pass."""
    specs = model or (["timm:test_vit"] if quick else list(MODELS))
    conditions = Conditions(threads=threads, rounds=1 if quick else rounds)
    console = Console(width=130)
    try:
        if out is not None:
            check_directory(out)
        torch.set_num_threads(threads)
        results: dict[str, Result] = {}
        measured_on = Machine.here("cpu", threads).sentence()
        for spec in specs:
            results[spec] = measure(spec, batch, conditions)
            for sheet in results[spec].sheets:
                console.print(sheet.rich(), "")
            if out is not None:
                heading = (HEADING[0], f"{HEADING[1].format(batch=batch)} {measured_on}")
                settings = {"batch": batch, "rounds": conditions.rounds, "threads": threads}
                write(out, "heatmaps_time", heading, settings, results)
    except (ValueError, VitdecompError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
