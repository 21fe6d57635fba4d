"""The local executor: this process, and those that `torchrun` or `accelerate launch` started with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from vitdecomp._utils.progress import Stage
from vitdecomp.distributed.executor import Executor, Item, Output, Program, Task
from vitdecomp.distributed.process_group import Ranks, ranks
from vitdecomp.errors import SpecError


class LocalExecutor(Executor):
    """Runs work here; each process of the group takes its shard of the items."""

    def __init__(self, address: str | None = None) -> None:
        if address is not None:
            raise SpecError("--address requires --executor ray")

    def started(self) -> AbstractContextManager[Ranks]:
        """Join the process group."""
        return ranks()

    def slots(self, ranks: Ranks) -> int:
        """Count the processes."""
        return ranks.world_size

    def map(self, task: Task[Item, Output], items: Sequence[Item], ranks: Ranks) -> Iterator[tuple[Item, Output]]:
        """Do the shard of this process."""
        worker = task.worker(ranks.rank)
        return ((item, worker(item)) for item in ranks.shard(items))

    def run(self, program: Program[Output], stage: Stage) -> Output | None:
        """Call the program."""
        return program(stage)
