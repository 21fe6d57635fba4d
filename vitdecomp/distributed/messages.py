"""Messages of a program's processes to the process that started them: progress, output, errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from vitdecomp._utils.progress import Progress, Stage
from vitdecomp.distributed import remote_error
from vitdecomp.errors import RankError

INTERVAL = 0.5  # seconds between two messages on progress
# Kinds of messages, beside those of errors.
PROGRESS, DONE = "progress", "done"


class RemoteStage:
    """A stage whose progress another process shows.

    Args:
        send: takes the kind and the content of a message.
    """

    def __init__(self, send: Callable[[Any], None]) -> None:
        self.send, self.last = send, 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[Progress]:
        """Send the progress of a part of the work."""

        def progress(done: int, total: int) -> None:
            if done >= total or time.monotonic() > self.last + INTERVAL:
                self.last = time.monotonic()
                self.send((PROGRESS, (name, done, total)))

        self.send((PROGRESS, (name, 0, 0)))
        yield progress


class ShownStage(ExitStack):
    """The part of the work that other processes are at, as a stage shows it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage, self.name = stage, ""

    def __call__(self, name: str, done: int, total: int) -> None:
        """Show progress."""
        if name != self.name:
            self.begin(name)
        if total:
            self.progress(done, total)

    def begin(self, name: str) -> None:
        """Show a part from its beginning."""
        self.close()
        self.name, self.progress = name, self.enter_context(self.stage(name))


class Attempt:
    """What the processes of one attempt have sent.

    Attributes:
        done: whether there is an output. output: of the program. error: why every attempt would fail.
    """

    def __init__(self, shown: ShownStage) -> None:
        self.shown = shown
        self.done, self.output = False, None
        self.error: Exception | None = None

    def receive(self, kind: str, content: Any) -> None:
        """Take one message."""
        if kind == PROGRESS:
            self.shown(*content)
        elif kind == DONE:
            self.done, self.output = True, content
        elif kind != RankError.__name__:  # sent by processes that lost the others
            self.error = self.error or remote_error.decode(kind, content)
