"""One picture of a data set, and what a data set answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a picture before it is read.

    Attributes:
        id: its name, unique in the data set.
        label: its class, if it is known.
        groups: other columns that a table has of it.
    """

    id: str
    label: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Pictures(Protocol):
    """A data set of pictures on disk, in a fixed order."""

    @property
    def root(self) -> Path:
        """What comes before an id in a path."""
        ...

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All of them."""
        ...

    def read(self, index: int) -> bytes:
        """Read the file of an image; may be called by several threads at once.

        Raises:
            OSError: it cannot be read.
        """
        ...
