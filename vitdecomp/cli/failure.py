"""How a command fails: one line on stderr and exit code 2."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from vitdecomp._utils.console import printable
from vitdecomp.errors import VitdecompError

# A path of the user's that cannot be used; any other OSError is a bug and keeps its traceback.
NO_DERIVATIVE = "no autograd formula was registered"  # torch's words for an operation of the user's
_PATHS = {errno.ENAMETOOLONG: "the name is too long", errno.ELOOP: "its links lead in a circle"}


@contextmanager
def errors_in_one_line(*, resumes: bool) -> Iterator[None]:
    """Turn errors that a user can mend into one line and exit code 2, and an interruption into exit code 130.

    Args:
        resumes: whether the same command goes on where it was interrupted.
    """
    try:
        yield
    except VitdecompError as error:
        raise fail(str(error)) from None
    except KeyboardInterrupt:
        typer.echo(f"interrupted{'; run the same command again to resume' if resumes else ''}", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        line = _known(error)
        if line is None:
            raise
        raise fail(line) from None


def fail(message: str) -> typer.Exit:
    """Write one line to stderr, and return what ends the command with exit code 2."""
    typer.echo(f"error: {printable(' '.join(message.split()))}", err=True)
    return typer.Exit(2)


def _known(error: Exception) -> str | None:
    """Describe an error of Python, torch or the system that a user can mend; `None` for a bug."""
    # torch's error is known by its name, so that torch need not be imported.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory ({error}); try a smaller --batch-size or --device cpu"
    if isinstance(error, RuntimeError) and NO_DERIVATIVE in str(error):
        return str(error)
    if isinstance(error, OSError) and error.errno in _PATHS:
        return f"cannot use the path {_shortened(error.filename)}: {_PATHS[error.errno]}"
    return None


def _shortened(path: Any, longest: int = 100) -> str:
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"
