"""How much memory a task takes at its peak: the weights, and what it allocates above what is there before it begins.

On a CPU every tensor that is allocated and freed is counted as torch's profiler tells it; on a GPU torch's allocator
counts. What libraries take for themselves while they multiply is in neither.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from bench import Model, opened
from speed_tasks import TASKS
from timing import PLAIN, Conditions, told
from torch.profiler import ProfilerActivity, profile


def peaks(model: Model, batch: int, conditions: Conditions) -> dict[str, Any]:
    """Peaks of the plain pass and of all tasks that have a limit and no batch of their own, in bytes."""
    found: dict[str, Any] = {"model": model.spec, "batch": batch, "why": ""}
    bench = opened(model, batch, conditions)
    if isinstance(bench, str):
        return {**found, "why": bench}
    weights = sum(t.numel() * t.element_size() for t in bench.module.state_dict().values())
    rows: dict[str, Any] = {}
    for name in [name for name, task in TASKS.items() if name == PLAIN or (task.memory and not task.batch)]:
        run = TASKS[name].make(bench)
        try:
            run()  # what is made once is there
            rows[name] = {"bytes": weights + allocated(run, conditions), "why": ""}
        except RuntimeError as error:
            rows[name] = {"bytes": None, "why": f"failed: {told(error)}"[:100].replace("|", "/")}
    return {**found, "rows": rows}


def allocated(run: Callable[[], Any], conditions: Conditions) -> int:
    """Measure the most that a task holds at once, in bytes, without what was there before."""
    if conditions.device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return int(torch.cuda.max_memory_allocated() - before)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        run()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(changes), default=0)
