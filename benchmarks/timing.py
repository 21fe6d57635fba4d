"""Times of tasks that run in turn, so that what else the machine does hits them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

PLAIN = "plain"
DTYPES = ("float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class Conditions:
    """Under which everything is measured.

    Attributes:
        device: such as `cpu` or `cuda`. dtype: number format of weights and images.
        threads: of the processor. rounds: that count; one more before them does not.
        seconds: rounds go on until so many are over, since those of short tasks differ a lot.
    """

    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 2
    rounds: int = 3
    seconds: float = 0.0

    def check(self) -> None:
        """Raise `ValueError` for what cannot be had, with what to do instead."""
        if self.dtype not in DTYPES:
            raise ValueError(f"no number format {self.dtype!r}; there are: {', '.join(DTYPES)}")
        try:
            kind = torch.device(self.device).type
        except RuntimeError as error:
            raise ValueError(f"no device {self.device!r}; use cpu or cuda") from error
        if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
            raise ValueError(f"device {self.device} is not there; use cpu{' or cuda' if kind != 'cuda' else ''}")

    def placed(self, x: Any) -> Any:
        """Put a module or a tensor on the device, in the number format."""
        return x.to(self.device, getattr(torch, self.dtype))

    def noise(self, *shape: int, seed: int = 0) -> Tensor:
        """Random numbers that depend on the seed alone."""
        numbers: Tensor = self.placed(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
        return numbers

    def wait(self) -> None:
        """Until the device has done what it was told to."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Row:
    """What was found of one task.

    Attributes:
        task: its name. batch: images. seconds: of every round.
        ratio: to the plain pass right before it, the median over the rounds.
        why: it was not measured, if it was not.
    """

    task: str
    batch: int
    seconds: Sequence[float] = field(default=())
    ratio: float | None = None
    why: str = ""

    @property
    def milliseconds(self) -> float | None:
        """The median over the rounds."""
        return 1000 * float(np.median(self.seconds)) if self.seconds else None


def measured(tasks: Mapping[str, Callable[[], Any]], batch: int, conditions: Conditions) -> list[Row]:
    """Run tasks in turn, round after round, each of them right behind a plain pass of its own.

    A machine that others use is slower for some seconds, and then slows both down. A task that fails in the round that
    does not count has the reason in its row, and the others go on.

    Args:
        tasks: by name; `plain` is one of them, and must not fail.
        batch: how many images each of them takes.
        conditions: how many rounds, and where.
    """
    plain = tasks[PLAIN]
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    beside: dict[str, list[float]] = {name: [] for name in tasks}
    failed: dict[str, str] = {}
    for name, task in tasks.items():
        try:
            _timed(task, conditions)
        except Exception as error:  # other people's libraries raise anything, and one row must not cost the others
            if name == PLAIN:
                raise
            failed[name] = f"failed: {told(error)}"
    for _ in _rounds(conditions):
        for name, task in tasks.items():
            if name not in failed:
                beside[name].append(_timed(plain, conditions))
                seconds[name].append(beside[name][-1] if task is plain else _timed(task, conditions))
    return [
        Row(name, batch, why=failed[name])
        if name in failed
        else Row(name, batch, seconds[name], ratio(seconds[name], beside[name]))
        for name in tasks
    ]


def _rounds(conditions: Conditions) -> Iterator[int]:
    began = time.perf_counter()
    for done in count():
        if done >= conditions.rounds and time.perf_counter() - began >= conditions.seconds:
            return
        yield done


def ratio(seconds: Sequence[float], plain: Sequence[float]) -> float:
    """Compute the median over the rounds of a task's time divided by that of the plain pass."""
    if len(seconds) != len(plain) or not len(plain):
        raise ValueError(f"{len(seconds)} rounds of a task, but {len(plain)} of the plain pass")
    return float(np.median(np.divide(seconds, plain)))


def told(error: Exception) -> str:
    """Write an error in one line that a table can hold."""
    line = (str(error).splitlines() or [""])[0].replace("|", "/")
    return f"{type(error).__name__}: {line[:100]}".rstrip(": ")


def _timed(task: Callable[[], Any], conditions: Conditions) -> float:
    conditions.wait()
    began = time.perf_counter()
    task()
    conditions.wait()
    return time.perf_counter() - began
