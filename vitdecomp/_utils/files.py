"""Result files: written whole or not at all, and places checked before any work is done."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from vitdecomp._utils.checksum import digest
from vitdecomp.errors import OutputError

PARTIAL = ".partial"  # suffix of a file that is being written
LONGEST = 255  # bytes of a file's name, on all common file systems


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of `path` only when everything is written.

    Raises:
        OutputError: it cannot be written.
    """
    partial = beside(path, PARTIAL)
    try:
        with writing(path):
            yield partial
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(path)
    finally:
        if partial.exists():
            partial.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise `OutputError` that names `path` for any `OSError` inside."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {_reason(error)}") from error


def beside(path: Path, suffix: str) -> Path:
    """Name a file that belongs to another one, beside it; a name that would be too long becomes its checksum."""
    name = path.name + suffix
    if len(os.fsencode(name)) > LONGEST:
        name = digest([os.fsencode(path.name)]) + suffix
    return path.with_name(name)


def cache_directory() -> Path:
    """Return where what can be computed again is kept: `VITDECOMP_CACHE`, or the system's place for caches."""
    chosen = os.environ.get("VITDECOMP_CACHE")
    return Path(chosen) if chosen else user_cache_path("vitdecomp")


def is_standard_cache(folder: Path) -> bool:
    """Tell whether a folder lies below `cache_directory()`, so that the user need not have named it."""
    return folder.absolute().is_relative_to(cache_directory().absolute())


def check_directory(path: Path) -> None:
    """Raise `OutputError` unless results can be written into `path`; nothing is created."""
    nearest = path
    while not nearest.exists() and nearest.parent != nearest:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise OutputError(f"cannot write to {path}: {nearest} is not a directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {path}: no permission in {nearest}")


def check_file(path: Path) -> None:
    """Raise `OutputError` unless a file can be written at `path`; nothing is created."""
    if len(os.fsencode(path.name)) > LONGEST:
        raise OutputError(f"cannot write {path.name[:60]}...: its name is longer than {LONGEST} bytes")
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a directory")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no directory {path.parent}")
    check_directory(path.absolute().parent)


def make_directory(path: Path) -> None:
    """Create a directory, and what is missing above it.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create {path}: {_reason(error)}") from error


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return digest(iter(lambda: file.read(2**20), b""))


def _reason(error: OSError) -> str:
    return "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
