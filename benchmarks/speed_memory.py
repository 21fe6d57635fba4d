r"""How much memory a task takes at its peak, in a process of its own.

    python benchmarks/speed_memory.py timm:vit_base_patch16_224 "heads, MLPs, constants" --batch 8

It is the weights, and what is resident on a CPU or allocated on a GPU above what the process holds before the task
begins: a graph that is traced, say, and what one plain pass of one image leaves behind. Prints the bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from speed_tasks import TASKS, Bench, Model, model_of
from timing import PLAIN, Conditions, told

from vitdecomp import VitdecompError

FORGET = Path("/proc/self/clear_refs")  # resets the peak so far
STATUS = Path("/proc/self/status")


def peaks(model: Model, batch: int, conditions: Conditions) -> dict[str, Any]:
    """Peaks of the plain pass and of all tasks that have a limit and no batch of their own, in bytes."""
    found: dict[str, Any] = {"model": model.spec, "batch": batch, "why": model.why_not or _not_here(conditions)}
    if found["why"]:
        return found
    rows: dict[str, Any] = {}
    for name in [name for name, task in TASKS.items() if name == PLAIN or (task.memory and not task.batch)]:
        try:
            rows[name] = {"bytes": _elsewhere(model, name, batch, conditions), "why": ""}
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines() or [f"it ended with {error.returncode}"]
            rows[name] = {"bytes": None, "why": f"failed: {lines[-1][:100]}".replace("|", "/")}
    return {**found, "rows": rows}


def own_peak(model: Model, task: str, batch: int, conditions: Conditions) -> int:
    """The peak of one task in this process with the weights, in bytes.

    Raises:
        RuntimeError: the system does not tell.
    """
    if why := _not_here(conditions):
        raise RuntimeError(why)
    torch.set_num_threads(conditions.threads)
    bench = Bench.load(model, batch, conditions)
    TASKS[PLAIN].make(bench.with_batch(1))()
    run = TASKS[task].make(bench)
    weights = sum(t.numel() * t.element_size() for t in bench.module.state_dict().values())
    if conditions.device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return weights + int(torch.cuda.max_memory_allocated() - before)
    FORGET.write_text("5", encoding="ascii")
    before = _resident("VmRSS")
    run()
    return weights + _resident("VmHWM") - before


def _not_here(conditions: Conditions) -> str:
    told_by_linux = conditions.device.startswith("cuda") or FORGET.exists()
    return "" if told_by_linux else "not measured: needs /proc of Linux"


def _resident(field: str) -> int:
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def _elsewhere(model: Model, task: str, batch: int, conditions: Conditions) -> int:
    flags = {**asdict(conditions), "batch": batch}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, __file__, model.spec, task, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def main(
    model: Annotated[str, typer.Argument(help="A spec.")],
    task: Annotated[str, typer.Argument(help="A row of the table.")],
    batch: Annotated[int, typer.Option(min=1)] = 8,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="Of a CPU.")] = 2,
    rounds: Annotated[int, typer.Option(hidden=True)] = 1,
) -> None:
    """Bytes that a task takes at its peak."""
    conditions = Conditions(device, dtype, threads, rounds)
    if task not in TASKS:
        raise typer.BadParameter(f"no task {task!r}; there are: {', '.join(TASKS)}")
    try:
        conditions.check()
        typer.echo(own_peak(model_of(model), task, batch, conditions))
    except (ValueError, VitdecompError, RuntimeError) as error:
        typer.echo(f"Error: {told(error)}", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
