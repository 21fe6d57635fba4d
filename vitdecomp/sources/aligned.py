"""A source of contributions as an aligner shows them, a few images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.sources.aligner import Aligner
from vitdecomp.sources.wrapped import WrappedSource


@dataclass(frozen=True, slots=True)
class Aligned(WrappedSource):
    """A source whose contributions are taken into another model's space whenever they are read.

    Attributes:
        aligner: fitted to such contributions.
        first: what it makes of the first image; it refuses contributions that it was not fitted to.
    """

    aligner: Aligner
    first: Contributions = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Align the first image."""
        object.__setattr__(self, "first", self.take([0]))

    @property
    def components(self) -> tuple[Component, ...]:
        """The component axis after alignment."""
        return self.first.components

    @property
    def dimension(self) -> int:
        """Length of a contribution after alignment."""
        return self.first.dimension

    def settings(self) -> object:
        """Return a checksum of what the aligner makes of the first image."""
        return self.first.fingerprint()

    def take(self, rows: Sequence[int]) -> Contributions:
        """Take the aligned contributions of some images, in the order asked for."""
        return self.aligner.transform(self.source.take(rows))
