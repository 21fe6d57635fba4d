"""One extraction: from a data set of images to a store of contributions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from vitdecomp._utils.progress import Progress
from vitdecomp.distributed.executor import Executor
from vitdecomp.distributed.local import LocalExecutor
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.errors import InputError, OutputError
from vitdecomp.extract.config import ExtractResult
from vitdecomp.extract.extractor import Extractor
from vitdecomp.extract.worker import ExtractTask
from vitdecomp.store.staging import Staging
from vitdecomp.store.store import Store
from vitdecomp.store.writer import StoreWriter

SETTLING = 4096  # images after which workers begin even if encodings are still growing


class Run:
    """One extraction, by one process or several.

    The first process writes chunk after chunk until one adds nothing to the encodings. Then all workers write beside
    the store, with these encodings, and the first process merges what they wrote.

    Args:
        extractor: of the images.
        executor: runs the workers; by default this process does all the work.
        ranks: of this process.
        progress: called with the images done and their number.
    """

    def __init__(
        self,
        extractor: Extractor,
        executor: Executor | None = None,
        ranks: Ranks | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.extractor, self.executor, self.ranks = extractor, executor or LocalExecutor(), ranks or Ranks()
        self.progress = progress if self.ranks.first else None

    def into(self, uri: str) -> ExtractResult:
        """Write the images that a store lacks; the first process must have locked it.

        Raises:
            OutputError: it cannot be written, or holds something else.
            InputError: no image can be read, or one cannot and `skip_unreadable` is off.
            RankError: another process has ended.
        """
        writer = StoreWriter(uri) if self.ranks.first else None
        before = 0 if writer is None else len(writer)
        done, skipped = self.ranks.all_gather((True, []) if writer is None else self._begin(writer))[0]
        if not done:
            skipped += self._map(uri, skipped)
            if writer is not None:
                Staging(uri, writer.images).merge_into(writer)
                self._check_whole(writer, skipped)
        if writer is not None:
            writer.finish()
        added = self.ranks.all_gather(0 if writer is None else len(writer) - before)[0]
        return ExtractResult(Store(uri), added, tuple(map(self.extractor.id, sorted(set(skipped)))))

    def _begin(self, writer: StoreWriter) -> tuple[bool, list[int]]:
        """Write alone, as the first process; return whether that was all, and the unreadable images."""
        if writer.metadata is not None:
            self.extractor.metadata.check(writer.metadata, writer.uri)
        staging, skipped, before = Staging(writer.uri, writer.images), list[int](), len(writer)
        self.extractor.check_known(writer, {**writer.known(), **staging.known()})
        slots = self.executor.slots(self.ranks)
        if staging.tables:  # workers were interrupted
            staging.start(slots)
            return False, skipped
        for chunk in self._chunks(writer, skipped):
            if slots > 1 and (writer.settled or len(writer) - before >= SETTLING):
                staging.start(slots)
                return False, skipped
            written, unreadable = self.extractor.chunk(chunk)
            skipped += unreadable
            if written is not None:
                writer.write(self.extractor.metadata, written)
            self._report(chunk[-1] + 1)
        if writer.metadata is None:
            raise InputError(f"none of {len(self.extractor.wanted)} images can be read")
        return True, skipped

    def _map(self, uri: str, tried: list[int]) -> list[int]:
        """Write what is missing beside the store, with all workers; return the unreadable images."""
        chunks = list(self._chunks(StoreWriter(uri), tried))
        left, skipped = sum(map(len, chunks)), list[int]()
        self.ranks.barrier()  # no worker writes before all have seen what is missing
        for chunk, unreadable in self.executor.map(ExtractTask.of(self.extractor, uri), chunks, self.ranks):
            skipped += unreadable
            left = max(left - self.ranks.world_size * len(chunk), 0)  # the others are about as far
            self._report(len(self.extractor.wanted) - left)
        return [index for shard in self.ranks.all_gather(skipped) for index in shard]

    def _chunks(self, writer: StoreWriter, tried: list[int]) -> Iterator[list[int]]:
        """Cut the images that are neither in the store nor unreadable into chunks."""
        there, staging = writer.known(), Staging(writer.uri, writer.images)
        old = set(islice(there, writer.before))
        return self.extractor.chunks({*there, *staging.known(), *map(self.extractor.id, tried)}, old)

    def _check_whole(self, writer: StoreWriter, skipped: list[int]) -> None:
        """Raise an error if images are missing: a worker that was believed dead may have written after all."""
        missing = sum(map(len, self._chunks(writer, skipped)))
        if missing:
            raise OutputError(f"{missing} images are missing in {writer.uri}: run the same command again")

    def _report(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, len(self.extractor.wanted))
