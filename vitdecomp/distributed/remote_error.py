"""Errors of another process, sent by name and text."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping

from torch import OutOfMemoryError

from vitdecomp import errors

MEMORY, BUG = "memory", "bug"
KINDS: Mapping[str, Callable[[str], Exception]] = {
    MEMORY: MemoryError,
    BUG: RuntimeError,
    **{  # those that are made of their text alone
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.VitdecompError) and "__init__" not in vars(kind)
    },
}


def encode(error: Exception) -> tuple[str, str]:
    """Give the kind of an error, and one line of text, or the whole traceback if it is a bug."""
    match error:
        case errors.VitdecompError():
            return type(error).__name__, str(error)
        case MemoryError() | OutOfMemoryError():
            return MEMORY, str(error)
        case _:
            return BUG, "".join(traceback.format_exception(error))


def decode(kind: str, text: str) -> Exception:
    """Make the error again."""
    return KINDS.get(kind, errors.VitdecompError)(text)
