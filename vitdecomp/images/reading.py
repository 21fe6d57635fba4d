"""Read a regular file whole: no device, pipe or socket, and no more bytes than a limit."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from vitdecomp._utils.limits import FILE

FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def read_file(path: Path, limit: int = FILE) -> bytes:
    """Read a regular file.

    Neither a pipe nor a device can make it wait, and a file that grows meanwhile is read as long as it was.

    Raises:
        OSError: it cannot be read, is not a regular file, or has more bytes than the limit.
    """
    try:
        _check(path.stat(), limit)  # before it is opened: opening alone can set a device in motion
        descriptor = os.open(path, FLAGS)
    except ValueError as error:  # a NUL byte, or a name that this system cannot spell
        raise OSError(errno.EINVAL, f"not a valid file name ({error})") from None
    with os.fdopen(_checked(descriptor, limit), "rb") as file:
        return file.read(os.fstat(descriptor).st_size)


def _checked(descriptor: int, limit: int) -> int:
    """Look once more at what was really opened."""
    try:
        _check(os.fstat(descriptor), limit)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check(status: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is not a regular file")
    if status.st_size > limit:
        raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes, more than {limit:,}")
