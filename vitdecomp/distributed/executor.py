"""Executors: run work in this process, in the group that `torchrun` started, or on a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from vitdecomp._utils.progress import Stage
from vitdecomp._utils.registry import plugin
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.errors import SpecError

GROUP = "vitdecomp.executors"
Item = TypeVar("Item")
Output = TypeVar("Output")


class Task(ABC, Generic[Item, Output]):
    """Work on independent items; any worker may take any of them. It can be sent to another process."""

    @property
    @abstractmethod
    def device(self) -> str:
        """The device that was asked for: `auto`, `cpu`, `cuda`, ..."""

    @abstractmethod
    def to(self, device: str) -> Task[Item, Output]:
        """Prepare the task for another process, which loads what it needs on its own device."""

    @abstractmethod
    def worker(self, slot: int) -> Callable[[Item], Output]:
        """Load what the work needs; the result does one item. Items and outputs are values that JSON can hold.

        Args:
            slot: number of the worker, below `Executor.slots`; two workers seldom have the same one.
        """


class Program(ABC, Generic[Output]):
    """Work that several processes do together: each calls it, and it joins them with `ranks()`."""

    @property
    @abstractmethod
    def device(self) -> str:
        """The device that was asked for: `auto`, `cpu`, `cuda`, ..."""

    @abstractmethod
    def resumed(self) -> Program[Output]:
        """Go on from the last checkpoint: what is run after a machine was lost."""

    @abstractmethod
    def __call__(self, stage: Stage) -> Output | None:
        """Do this process's share; only the first process returns an output."""


class Executor(ABC):
    """Runs work in one process or in many. Plugins add some by entry points `vitdecomp.executors`.

    Args:
        address: of a cluster.

    Raises:
        SpecError: the executor takes no address, or cannot run under `torchrun`.
        LoadError: a package is not installed.
    """

    @abstractmethod
    def __init__(self, address: str | None) -> None: ...

    @abstractmethod
    def started(self) -> AbstractContextManager[Ranks]:
        """Join or start the processes for `map`, and give the rank of this one.

        Raises:
            RankError: they cannot be reached.
        """

    @abstractmethod
    def slots(self, ranks: Ranks) -> int:
        """Count the numbers that workers of `map` are given; 1 if this process does all the work itself."""

    @abstractmethod
    def map(self, task: Task[Item, Output], items: Sequence[Item], ranks: Ranks) -> Iterator[tuple[Item, Output]]:
        """Do all items, which every process of the group passes in the same order.

        Yields:
            Items that are done, with their outputs: those of this process, or all.

        Raises:
            RankError: processes were lost, and no other takes their place.
            VitdecompError: whatever the task raises.
        """

    @abstractmethod
    def run(self, program: Program[Output], stage: Stage) -> Output | None:
        """Run a program in all processes; only the first one returns its output.

        Raises:
            RankError: processes were lost, and no other takes their place.
            VitdecompError: whatever the program raises.
        """


def executor(name: str, address: str | None = None) -> Executor:
    """Make an executor by its name: `local`, `ray`, or one of a plugin.

    Raises:
        SpecError: there is none of this name, or it cannot be used here.
        LoadError: a package that it needs is not installed.
    """
    made: Any = plugin(GROUP, "executor", name)(address)
    if not isinstance(made, Executor):
        raise SpecError(f"executor {name!r} is no `vitdecomp.distributed.executor.Executor`: update its package")
    return made
