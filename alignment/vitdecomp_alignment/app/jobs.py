"""Work that is done one piece after another, with progress, and can be cancelled."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from vitdecomp._utils.progress import Progress, Stage
from vitdecomp.errors import SpecError, VitdecompError

logger = logging.getLogger(__name__)

WAITING = 32  # jobs that may wait at a time
KEPT = 64  # jobs that are remembered with their results
UNEXPECTED = "something unexpected went wrong; the terminal that runs `vitdecomp app` says what"


class Cancelled(Exception):
    """The job that runs is to stop."""


class BusyError(VitdecompError, RuntimeError):
    """Too many jobs wait already."""


@dataclass(slots=True, eq=False)
class Job:
    """A piece of work.

    Attributes:
        id: its name in links. key: equal jobs have equal keys. work: what is to be done.
        state: `waiting`, `running`, `done`, `failed` or `cancelled`.
        stage, done, total: how far it is. result: once it is done. error: if it failed, in one line.
        stopped: whether it is to stop. ended: whether it has.
    """

    id: str
    key: object
    work: Callable[[Stage], Any]
    state: str = "waiting"
    stage: str = ""
    done: int = 0
    total: int = 0
    result: Any = None
    error: str | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def staged(self, name: str) -> Iterator[Progress]:
        """Show a part of the work; stop in its midst if the job is cancelled."""
        self._check()
        self.stage, self.done, self.total = name, 0, 0
        yield self._tell

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told = {name: getattr(self, name) for name in ("id", "state", "stage", "done", "total", "error")}
        return {**told, "result": self.result if self.state == "done" else None}

    def run(self) -> None:
        """Do the work, whatever becomes of it."""
        self.state = "running"
        try:
            self._check()
            self.result = self.work(self.staged)
            self.state = "done"
        except Cancelled:
            self.state = "cancelled"
        except VitdecompError as error:
            self.error, self.state = " ".join(str(error).split()), "failed"
        except Exception:
            logger.exception("a job of the explorer failed")
            self.error, self.state = UNEXPECTED, "failed"
        finally:
            self.ended.set()

    def cancel(self) -> None:
        """Ask it to stop; one that waits has stopped at once."""
        self.stopped.set()

    def _tell(self, done: int, total: int) -> None:
        self._check()
        self.done, self.total = done, total

    def _check(self) -> None:
        if self.stopped.is_set():
            raise Cancelled


class JobQueue:
    """Runs jobs in one thread, in the order in which they come, so that a model is used by one at a time."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._ids, self._closed = count(1), False
        self._thread = threading.Thread(target=self._work, name="explorer", daemon=True)
        self._thread.start()

    def submit(self, key: object, work: Callable[[Stage], Any]) -> Job:
        """Add a job; one with the same key that is at work or done is returned instead.

        Raises:
            BusyError: too many wait already.
        """
        with self._changed:
            for job in self._jobs.values():
                if job.key == key and job.state in ("waiting", "running", "done") and not job.stopped.is_set():
                    self._jobs.move_to_end(job.id)
                    return job
            if len(self._waiting) >= WAITING:
                raise BusyError(f"{WAITING} jobs wait already: wait for one to end, or cancel some")
            job = Job(str(next(self._ids)), key, work)
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._forget()
            self._changed.notify_all()
            return job

    def of(self, name: str) -> Job:
        """Return a job by its id.

        Raises:
            SpecError: there is none.
        """
        with self._changed:
            if name not in self._jobs:
                raise SpecError(f"there is no job {name!r}: ask again")
            return self._jobs[name]

    def cancel(self, name: str) -> Job:
        """Cancel a job.

        Raises:
            SpecError: there is none.
        """
        job = self.of(name)
        job.cancel()
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.run()  # which sees at once that it is cancelled
        return job

    def close(self) -> None:
        """Stop what runs, and take no more."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.cancel()
            self._changed.notify_all()
        self._thread.join(timeout=5)

    def _forget(self) -> None:
        ended = [name for name, job in self._jobs.items() if job.ended.is_set()]
        for name in ended[: max(0, len(self._jobs) - KEPT)]:
            del self._jobs[name]

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._waiting.popleft()
            job.run()
