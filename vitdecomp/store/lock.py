"""One process at a time writes to a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vitdecomp._utils.files import check_directory, make_directory
from vitdecomp.errors import OutputError
from vitdecomp.store.data_files import local_path

LOCK = ".lock"


@contextmanager
def locked(uri: str, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes of this machine from writing to a store.

    Args:
        uri: of the store; one that is not on this machine is not locked.
        wait: until the other is done, instead of refusing.

    Raises:
        OutputError: another process writes to it, or there can be no file.
    """
    place = local_path(uri)
    if place is None:
        yield
        return
    check_directory(place)
    fresh = not place.exists()
    make_directory(place)
    lock = FileLock(place / LOCK, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(f"another process writes to {uri}: wait until it is done") from None
    except OSError as error:
        raise OutputError(f"cannot write to {uri}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
        if fresh:
            _remove_if_empty(place)


def _remove_if_empty(place: Path) -> None:
    """Leave no folder where nothing was written."""
    if {path.name for path in place.iterdir()} <= {LOCK}:
        with suppress(OSError):  # somebody else may have begun to write
            (place / LOCK).unlink(missing_ok=True)
            place.rmdir()
