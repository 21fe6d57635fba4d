"""Texts in a file: one a line."""

from __future__ import annotations

PACKAGE = "vitdecomp_alignment.texts"  # where the files lie that ship
COMMENT = "#"


def lines_of(text: str) -> tuple[str, ...]:
    """Return the lines that are neither blank nor a comment, without the space around them, each once."""
    lines = (line.strip() for line in text.split("\n"))
    return tuple(dict.fromkeys(line for line in lines if line and not line.startswith(COMMENT)))
