"""What sources that change another one have in common: all that they do not change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from vitdecomp._utils.checksum import digest
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.sources.source import Source


@dataclass(frozen=True, slots=True)
class WrappedSource(ABC):
    """A source made of another one, which has its components, length and images unless a subclass says otherwise.

    Attributes:
        source: contributions in memory or on disk.
    """

    source: Source

    @property
    def components(self) -> tuple[Component, ...]:
        """The component axis."""
        return self.source.components

    @property
    def dimension(self) -> int:
        """Length of a contribution."""
        return self.source.dimension

    def __len__(self) -> int:
        """Count the images."""
        return len(self.source)

    def fingerprint(self) -> str:
        """Compute a checksum of the source and of what is made of it."""
        return digest([f"{self.source.fingerprint()} {self.settings()}"])

    @abstractmethod
    def settings(self) -> object:
        """Return what decides, beside the source, what is read; it is the same only for the same contributions."""

    @abstractmethod
    def take(self, rows: Sequence[int]) -> Contributions:
        """Take the contributions of some images, in the order asked for."""
