"""From a data set of pictures to a store of what a model makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from vitdecomp._utils.progress import Progress
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.errors import InputError, OutputError
from vitdecomp.extract.config import ExtractResult
from vitdecomp.extract.engine import Engine
from vitdecomp.extract.extractor import Extractor
from vitdecomp.store.staging import Staging
from vitdecomp.store.store import Store
from vitdecomp.store.writer import StoreWriter

SETTLING = 4096  # images after which others begin even if encodings have grown all the time


class Run:
    """One extraction, by one process or several.

    The first process writes chunk after chunk until one brings nothing new to the encodings. Then all processes write
    beside the store, with these encodings, and the first one takes over what they wrote.

    Args:
        extractor: of the images.
        engine: who does the work.
        mine: which process this is.
        progress: called with the images done and their number.
    """

    def __init__(
        self, extractor: Extractor, engine: Engine, mine: Ranks | None = None, progress: Progress | None = None
    ) -> None:
        self.extractor, self.engine, self.mine = extractor, engine, mine or Ranks()
        self.progress = progress if self.mine.first else None
        self._left = 0

    def into(self, uri: str) -> ExtractResult:
        """Write what is missing in a store, which the first process must have locked.

        Raises:
            OutputError: it cannot be written, or holds something else.
            InputError: no image can be read, or one cannot be and none may be left out.
            RankError: another process has ended.
        """
        writer = StoreWriter(uri) if self.mine.first else None
        before = 0 if writer is None else len(writer)
        done, skipped = self.mine.all_gather((True, []) if writer is None else self._begin(writer))[0]
        if not done:
            skipped += self._together(uri, skipped)
            if writer is not None:
                Staging(uri, writer.images).merge_into(writer)
                self._check_whole(writer, skipped)
        if writer is not None:
            writer.finish()
        added = self.mine.all_gather(0 if writer is None else len(writer) - before)[0]
        return ExtractResult(Store(uri), added, tuple(map(self.extractor.id, sorted(set(skipped)))))

    def _begin(self, writer: StoreWriter) -> tuple[bool, list[int]]:
        """What the first process does alone: whether that is all, and which images it could not read."""
        if writer.metadata is not None:
            self.extractor.metadata.check(writer.metadata, writer.uri)
        staging, skipped, before = Staging(writer.uri, writer.images), list[int](), len(writer)
        self.extractor.check_known(writer, {**writer.known(), **staging.known()})
        if staging.tables:  # those who wrote beside the store were interrupted
            staging.start(self.engine.tables)
            return False, skipped
        for chunk in self._chunks(writer, skipped):
            if not self.engine.alone and (writer.settled or len(writer) - before >= SETTLING):
                staging.start(self.engine.tables)
                return False, skipped
            written, unreadable = self.extractor.chunk(chunk)
            skipped += unreadable
            if written is not None:
                writer.write(self.extractor.metadata, written)
            self._tell(chunk[-1] + 1)
        if writer.metadata is None:
            raise InputError(f"none of {len(self.extractor.wanted)} images can be read")
        return True, skipped

    def _together(self, uri: str, tried: list[int]) -> list[int]:
        """What all processes do: write beside the store what is missing; the images that none could read."""
        chunks = list(self._chunks(StoreWriter(uri), tried))
        self._left = sum(map(len, chunks))
        self.mine.barrier()  # nobody writes before all have seen what is missing
        skipped = self.engine.run(chunks, self.extractor, uri, self._tick)
        return [index for found in self.mine.all_gather(skipped) for index in found]

    def _chunks(self, writer: StoreWriter, tried: list[int]) -> Iterator[list[int]]:
        """Images that are neither there nor unreadable."""
        there, staging = writer.known(), Staging(writer.uri, writer.images)
        old = set(islice(there, writer.before))
        return self.extractor.chunks({*there, *staging.known(), *map(self.extractor.id, tried)}, old)

    def _check_whole(self, writer: StoreWriter, skipped: list[int]) -> None:
        """Refuse to say that all is there if it is not, whatever processes that were believed dead have done."""
        missing = sum(map(len, self._chunks(writer, skipped)))
        if missing:
            raise OutputError(f"{missing} images are missing in {writer.uri}: run the same command again")

    def _tick(self, more: int) -> None:
        self._left = max(self._left - more, 0)
        self._tell(len(self.extractor.wanted) - self._left)

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, len(self.extractor.wanted))
