"""Who carries an extraction out: this process, those that torchrun started, or those of a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from vitdecomp._utils.registry import plugin
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.extract.extractor import Extractor
from vitdecomp.store.rows import rows_of
from vitdecomp.store.staging import Staging
from vitdecomp.store.writer import StoreWriter

GROUP = "vitdecomp.engines"
Tick = Callable[[int], None]
"""Called with how many more images are done."""


class Worker:
    """Writes chunks of images beside a store that others write to as well.

    Args:
        extractor: of the images.
        uri: of the store, which has its encodings already.
        number: of the table where it notes what it has written.

    Raises:
        OutputError: there is no such store, or one of something else.
    """

    def __init__(self, extractor: Extractor, uri: str, number: int) -> None:
        writer = StoreWriter(uri)
        self.extractor, self.encodings, self.metadata = extractor, writer.encodings(), writer.own_metadata
        self.staging = Staging(uri, writer.images)
        self.table = self.staging.own(number)
        extractor.metadata.check(self.metadata, uri)

    def __call__(self, indices: Sequence[int]) -> list[int]:
        """Take images apart and write them.

        Returns:
            Those that cannot be read.
        """
        chunk, skipped = self.extractor.chunk(indices)
        if chunk is not None:
            self.staging.record(self.table, indices[0], rows_of(self.metadata, chunk, self.encodings))
        return skipped


class Engine(ABC):
    """How chunks of images are spread over processes. Plugins bring some: entry points `vitdecomp.engines`.

    Args:
        mine: which of the processes of the run this is.
        address: of a cluster.

    Raises:
        SpecError: it has no use for an address, or for several processes.
        LoadError: something is not installed.
    """

    @abstractmethod
    def __init__(self, mine: Ranks, address: str | None) -> None: ...

    @property
    @abstractmethod
    def alone(self) -> bool:
        """Whether one process does all the work."""

    @property
    @abstractmethod
    def tables(self) -> int:
        """How many tables the workers have for their notes."""

    def started(self) -> AbstractContextManager[None]:
        """Whatever must be there before a store is opened, as long as it is needed.

        Raises:
            RankError: it cannot be had.
        """
        return nullcontext()

    @abstractmethod
    def run(self, chunks: Sequence[list[int]], extractor: Extractor, uri: str, tick: Tick) -> list[int]:
        """Have a `Worker` write each chunk, which all processes of the run know; some of them, or all.

        Returns:
            Images that this process found to be unreadable.

        Raises:
            RankError: processes were lost, and nobody takes their place.
        """


def engine(name: str, mine: Ranks, address: str | None) -> Engine:
    """An engine by its name.

    Raises:
        SpecError: there is none, or it cannot be used so.
        LoadError: something that it needs is not installed.
    """
    found: Engine = plugin(GROUP, "engine", name)(mine, address)
    return found
