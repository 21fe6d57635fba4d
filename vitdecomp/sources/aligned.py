"""A source of contributions as an aligner shows them, a few images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vitdecomp._utils.checksum import digest
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.sources.aligner import Aligner
from vitdecomp.sources.source import Source


@dataclass(frozen=True, slots=True)
class Aligned:
    """A source whose contributions are taken into another model's space whenever they are read.

    Attributes:
        source: contributions in the model's own space. aligner: fitted to such contributions.
        components, dimension: the component axis and the length of a contribution after alignment.
    """

    source: Source
    aligner: Aligner
    components: tuple[Component, ...] = field(init=False)
    dimension: int = field(init=False)

    def __post_init__(self) -> None:
        """Find out what the aligner makes of one image; it refuses contributions that it was not fitted to."""
        first = self.take([0])
        object.__setattr__(self, "components", first.components)
        object.__setattr__(self, "dimension", first.dimension)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.source)

    def fingerprint(self) -> str:
        """Compute a checksum of the source and of what the aligner makes of its first image."""
        return digest([f"{self.source.fingerprint()} {self.take([0]).fingerprint()}"])

    def take(self, rows: Sequence[int]) -> Contributions:
        """Take the aligned contributions of some images, in the order asked for."""
        return self.aligner.transform(self.source.take(rows))
