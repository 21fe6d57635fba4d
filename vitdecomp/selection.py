"""Some images of a source."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.source import Source


@dataclass(frozen=True, slots=True)
class Selection:
    """A source that has only some images of another one, in an order of its own.

    Attributes:
        source: contributions in memory or on disk.
        rows: their places in the source.
    """

    source: Source
    rows: tuple[int, ...]

    @property
    def components(self) -> tuple[Component, ...]:
        """The component axis."""
        return self.source.components

    @property
    def dimension(self) -> int:
        """Length of a contribution."""
        return self.source.dimension

    def fingerprint(self) -> str:
        """A checksum of the source and the rows."""
        return hashlib.sha256(f"{self.source.fingerprint()} {self.rows}".encode()).hexdigest()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)

    def take(self, rows: Sequence[int]) -> Contributions:
        """The contributions of some of the images, in the order asked for."""
        return self.source.take([self.rows[row] for row in rows])
