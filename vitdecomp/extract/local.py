"""This process, and those that torchrun or accelerate started with it."""

from __future__ import annotations

from collections.abc import Sequence

from vitdecomp.distributed.process_group import Ranks
from vitdecomp.errors import SpecError
from vitdecomp.extract.engine import Engine, Tick, Worker
from vitdecomp.extract.extractor import Extractor


class Local(Engine):
    """Every process of the run takes every so manieth chunk."""

    def __init__(self, mine: Ranks, address: str | None) -> None:
        if address is not None:
            raise SpecError("--address is that of a cluster: add --engine ray")
        self.mine = mine

    @property
    def alone(self) -> bool:
        """Whether torchrun started no other."""
        return self.mine.world_size == 1

    @property
    def tables(self) -> int:
        """One for each process."""
        return self.mine.world_size

    def run(self, chunks: Sequence[list[int]], extractor: Extractor, uri: str, tick: Tick) -> list[int]:
        """Write a share of the chunks."""
        worker, skipped = Worker(extractor, uri, self.mine.rank), list[int]()
        for chunk in self.mine.shard(chunks):
            skipped += worker(chunk)
            tick(self.mine.world_size * len(chunk))
        return skipped
