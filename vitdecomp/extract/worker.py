"""Extraction as a task of an executor: chunks of images, written beside the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vitdecomp.datasets import open_pictures
from vitdecomp.distributed.executor import Task
from vitdecomp.extract.config import ExtractConfig
from vitdecomp.extract.extractor import Extractor
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.store.rows import rows_of
from vitdecomp.store.staging import Staging
from vitdecomp.store.writer import StoreWriter

Chunk = list[int]


class ExtractWorker:
    """Writes chunks of images beside a store that other workers write to as well.

    Args:
        extractor: of the images.
        uri: of the store, which has its encodings already.
        slot: number of the table that records what is written.

    Raises:
        OutputError: there is no such store, or it holds something else.
    """

    def __init__(self, extractor: Extractor, uri: str, slot: int) -> None:
        writer = StoreWriter(uri)
        self.extractor, self.encodings, self.metadata = extractor, writer.encodings(), writer.own_metadata
        self.staging = Staging(uri, writer.images)
        self.table = self.staging.own(slot)
        extractor.metadata.check(self.metadata, uri)

    def __call__(self, indices: Sequence[int]) -> list[int]:
        """Decompose images and write them.

        Returns:
            Those that cannot be read.
        """
        chunk, skipped = self.extractor.chunk(indices)
        if chunk is not None:
            self.staging.record(self.table, indices[0], rows_of(self.metadata, chunk, self.encodings))
        return skipped


@dataclass(frozen=True, slots=True)
class ExtractTask(Task[Chunk, Chunk]):
    """Chunks of images, to those of them that cannot be read.

    Attributes:
        options: the model. config: what to extract. loading: how images are read. uri: of the store.
        extractor: in the process that made it; another process loads its own.
    """

    options: ModelOptions
    config: ExtractConfig
    loading: Loading
    uri: str
    extractor: Extractor | None = None

    @classmethod
    def of(cls, extractor: Extractor, uri: str) -> ExtractTask:
        """Describe what an extractor does."""
        return cls(extractor.prepared.options, extractor.config, extractor.loading, uri, extractor)

    @property
    def device(self) -> str:
        """The device that was asked for."""
        return self.options.device

    def to(self, device: str) -> ExtractTask:
        """Leave the extractor behind."""
        return replace(self, options=replace(self.options, device=device), extractor=None)

    def worker(self, slot: int) -> ExtractWorker:
        """Load the model, unless it is here, and open the store."""
        extractor = self.extractor or Extractor(
            prepare(self.options), self.config, open_pictures(self.config.images), self.loading
        )
        return ExtractWorker(extractor, self.uri, slot)
