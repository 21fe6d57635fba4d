"""What the processes of an alignment on a cluster tell the one that asked for it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import OutOfMemoryError

from vitdecomp._utils.progress import Progress, Stage
from vitdecomp.distributed.ray_cluster import as_told
from vitdecomp.errors import RankError, VitdecompError
from vitdecomp_alignment.align.job import Alignment

SELDOM = 0.5  # seconds between two messages on how far a part of the work is
# What there is to tell, beside errors by the names of their classes.
PROGRESS, DONE, MEMORY, BUG = "progress", "done", "memory", "bug"


def failure(error: Exception) -> tuple[str, str]:
    """What there is to tell of an error: its kind, and a line, or where it is if it is a bug."""
    match error:
        case VitdecompError():
            return type(error).__name__, str(error)
        case MemoryError() | OutOfMemoryError():
            return MEMORY, str(error)
        case _:
            return BUG, "".join(traceback.format_exception(error))


class Telling:
    """A stage whose parts are shown by another process."""

    def __init__(self, put: Callable[[Any], None]) -> None:
        self.put, self.last = put, 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[Progress]:
        """A part of the work."""

        def progress(done: int, total: int) -> None:
            if done >= total or time.monotonic() > self.last + SELDOM:
                self.last = time.monotonic()
                self.put((PROGRESS, (name, done, total)))

        self.put((PROGRESS, (name, 0, 0)))
        yield progress


class Shown(ExitStack):
    """The part of the work that other processes are at."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage, self.name = stage, ""

    def __call__(self, name: str, done: int, total: int) -> None:
        """How far they are."""
        if name != self.name:
            self.begin(name)
        if total:
            self.progress(done, total)

    def begin(self, name: str) -> None:
        """Show a part from its beginning."""
        self.close()
        self.name, self.progress = name, self.enter_context(self.stage(name))


class Heard:
    """What the processes of one attempt have told.

    Attributes:
        alignment: what became of the job. error: why it cannot be done at all, however often it is tried.
    """

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.alignment: Alignment | None = None
        self.error: Exception | None = None

    def __call__(self, kind: str, told: Any) -> None:
        """Hear one message."""
        if kind == PROGRESS:
            self.shown(*told)
        elif kind == DONE:
            self.alignment = told
        elif kind != RankError.__name__:  # that is said by those whose company was lost
            self.error = self.error or _error(kind, told)


def _error(kind: str, told: str) -> Exception:
    others = {MEMORY: MemoryError, BUG: RuntimeError}
    return others[kind](told) if kind in others else as_told(kind, told)
