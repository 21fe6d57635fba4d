"""Some images of a source, such as those to learn from and those held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.source import Source


@dataclass(frozen=True, slots=True)
class Rows:
    """A source's contributions of some of its images.

    Attributes:
        source: of all images.
        chosen: places of those that are meant.
    """

    source: Source
    chosen: tuple[int, ...]

    @property
    def components(self) -> tuple[Component, ...]:
        """The component axis."""
        return self.source.components

    @property
    def dimension(self) -> int:
        """Length of a contribution."""
        return self.source.dimension

    def fingerprint(self) -> str:
        """That of the source, with the places."""
        return f"{self.source.fingerprint()} {self.chosen}"

    def __len__(self) -> int:
        """Number of images."""
        return len(self.chosen)

    def take(self, rows: Sequence[int]) -> Contributions:
        """The contributions of some of these images."""
        return self.source.take([self.chosen[row] for row in rows])


def halves(n: int, held_out: float, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The places of n images: those to learn from and those held out, drawn at random, each in order."""
    order, k = np.random.default_rng([seed, 2]).permutation(n), max(1, round(n * held_out))
    return tuple(np.sort(order[k:]).tolist()), tuple(np.sort(order[:k]).tolist())
