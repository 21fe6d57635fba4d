"""How long work tells how far it is, and what took how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with what is done and with how much there is."""

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Makes a context around a part of the work, from its name; it gives what is called in that part."""


@contextmanager
def unseen(name: str) -> Iterator[Progress]:
    """Show nothing of a stage."""
    yield lambda done, total: None


class Clock:
    """A stage that remembers how long every part took.

    Args:
        stage: what shows the parts.

    Attributes:
        seconds: of each part, by its name.
    """

    def __init__(self, stage: Stage = unseen) -> None:
        self.stage, self.seconds = stage, dict[str, float]()
        self._within = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[Progress]:
        """Time a part of the work; what `timed` counts while it lasts is not counted twice."""
        began, before = time.perf_counter(), self._within
        try:
            with self.stage(name) as progress:
                yield progress
        finally:
            self._add(name, time.perf_counter() - began - (self._within - before))

    def timed(self, name: str, things: Iterable[T]) -> Iterator[T]:
        """Yield the same things, and count the time that it takes to get them as a part of its own."""
        source = iter(things)
        while True:
            began = time.perf_counter()
            try:
                thing = next(source)
            except StopIteration:
                return
            finally:
                spent = time.perf_counter() - began
                self._within += spent
                self._add(name, spent)
            yield thing

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
