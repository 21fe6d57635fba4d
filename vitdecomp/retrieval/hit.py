"""What a search finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Hit:
    """An image that was found.

    Attributes:
        row: its place in the source. id: its name there. path: its file, if that is known.
        score: cosine with what was looked for, -1 .. 1.
    """

    row: int
    id: str
    path: Path | None
    score: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "row": self.row,
            "id": self.id,
            "path": None if self.path is None else str(self.path),
            "score": self.score,
        }


@runtime_checkable
class Named(Protocol):
    """A source that knows its images by name."""

    def names(self, rows: Sequence[int]) -> Sequence[tuple[str, Path]]:
        """Return the name and the file of some images."""
        ...
