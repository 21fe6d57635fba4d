"""Errors of Lance, each in one line of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from vitdecomp.errors import InputError, OutputError, VitdecompError

CHANGED = "a file is missing; if the store was written to meanwhile, open it again"
REASONS = {
    "No space left": "the disk is full",
    "os error 28": "the disk is full",
    "Permission denied": "no permission",
    r"Not found: |Object at location .* not found": CHANGED,
}


def reading(uri: str, remedy: str = "") -> AbstractContextManager[None]:
    """Convert errors while a table is read, and say what to do about them."""
    return _converted(InputError, f"cannot read {uri}", remedy)


def writing(uri: str) -> AbstractContextManager[None]:
    """Convert errors while a table is written."""
    return _converted(OutputError, f"cannot write {uri}")


@contextmanager
def _converted(kind: type[VitdecompError], text: str, remedy: str = "") -> Iterator[None]:
    """Convert Lance's panics too, which are no `Exception`; an interruption stays what it is."""
    try:
        yield
    except VitdecompError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise kind("; ".join(filter(None, (f"{text}: {_reason(error)}", remedy)))) from error
        raise


def _reason(error: BaseException) -> str:
    """Return what Lance reports, without the lines of its own sources."""
    said = str(error)
    for pattern, reason in REASONS.items():
        if re.search(pattern, said):
            return reason
    return re.sub(r",? ?/\S+\.rs:\d+(:\d+)?", "", " ".join(said.split()))[:300] or type(error).__name__
