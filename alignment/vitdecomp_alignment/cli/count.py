"""How many components stand for a feature, as it is typed."""

from __future__ import annotations

from typing import Literal

from vitdecomp.errors import SpecError

Count = int | Literal["auto"]


def count(text: str) -> Count:
    """A number of components, or `auto`.

    Raises:
        SpecError: neither.
    """
    if text == "auto":
        return "auto"
    if not text.isdecimal() or int(text) < 1:
        raise SpecError(f"--k must be a positive number or auto, not {text!r}")
    return int(text)
