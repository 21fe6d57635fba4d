"""What a decomposition is asked for, and what that may cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from bench import Bench, Model, opened
from timing import PLAIN, Conditions, Row, measured
from torch import Tensor

MANY = 100  # texts
PER_IMAGE = 32  # images with a direction each
HEADS = "heads, MLPs, constants"

Run: TypeAlias = Callable[[], Any]
Make: TypeAlias = Callable[[Bench], Run]
"""What is prepared once, to what is timed."""


def plain(bench: Bench) -> Run:
    """Run the model's own code."""

    def run() -> Tensor:
        with torch.inference_mode():
            return bench.module(bench.images)  # type: ignore[no-any-return]

    return run


def push(bench: Bench) -> Run:
    """Return all contributions."""
    return lambda: bench.dec.transform(bench.images)


def pull(by: Any, count: int = 1) -> Make:
    """Products of the same directions with all contributions."""

    def make(bench: Bench) -> Run:
        directions = bench.directions(count)
        return lambda: bench.dec.attribute(bench.images, directions, by=by)

    return make


def pull_all(bench: Bench) -> Run:
    """Products of one direction with heads, tokens (of all blocks, and the patches) and neurons."""
    directions = bench.directions(1)
    return lambda: bench.dec.attribute_each(bench.images, directions, ["head", "token", "neuron"])


def pull_each(by: Any) -> Make:
    """Products of a direction of each image's own."""

    def make(bench: Bench) -> Run:
        directions = bench.directions(len(bench.images))[:, None]
        return lambda: bench.dec.attribute(bench.images, directions, by=by)

    return make


@dataclass(frozen=True)
class Task:
    """One thing that is asked for.

    Attributes:
        make: it. target: of a model, which of its limits holds. memory: how many times the plain pass's peak it may
            take. batch: if it needs one of its own.
    """

    make: Make
    target: str = ""
    memory: float | None = None
    batch: int | None = None

    def limit(self, model: Model) -> float | None:
        """Return what it may cost, as a ratio to the plain pass."""
        return getattr(model, self.target) if self.target else None


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        PLAIN: Task(plain),
        HEADS: Task(push, "push", 1.5),
        "one direction by head": Task(pull("head"), "pull"),
        "one direction by token": Task(pull("token"), "pull"),
        "one direction by neuron": Task(pull("neuron"), "pull"),
        "one direction by head x token": Task(pull(("head", "token")), "pull"),
        "one direction by head, token and neuron at once": Task(pull_all, "pull", 2.0),
        f"{MANY} directions by head": Task(pull("head", MANY), "many"),
        f"{PER_IMAGE} images, each its direction, by head x token": Task(
            pull_each(("head", "token")), "pull", batch=PER_IMAGE
        ),
    }
)


def times(model: Model, batch: int, conditions: Conditions, *, per_image: int = PER_IMAGE) -> dict[str, Any]:
    """Rows of all tasks of one model, with how long it took to trace and how many components it has.

    Args:
        model: one of the list, or any other.
        batch: images of the tasks that do not have a batch of their own.
        conditions: where, and how often.
        per_image: the largest batch of those that do.
    """
    with TemporaryDirectory(prefix="vitdecomp-paths-") as place:
        return {"model": model.spec, "batch": batch, **_times(model, batch, conditions, per_image, Path(place))}


def _times(model: Model, batch: int, conditions: Conditions, per_image: int, cache: Path) -> dict[str, Any]:
    bench = opened(model, batch, conditions, cache)
    if isinstance(bench, str):
        return {"why": bench}
    again, rows = bench.again(), _rows(bench, None)
    for own in dict.fromkeys(task.batch for task in TASKS.values() if task.batch and model.each):
        rows += _rows(bench.with_batch(min(own, per_image)), own)
    components = len(bench.dec.components_)
    told = [asdict(row) for row in rows]
    return {"why": "", "fit": bench.fit, "again": again, "components": components, "rows": told}


def _rows(bench: Bench, own: int | None) -> list[Row]:
    """Of the tasks with such a batch of their own, beside the plain pass on it."""
    chosen = {name: task.make(bench) for name, task in TASKS.items() if name == PLAIN or task.batch == own}
    return measured(chosen, len(bench.images), bench.conditions)
