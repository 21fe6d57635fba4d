"""Some images of a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.sources.source import Block, Scanned, Source
from vitdecomp.sources.wrapped import WrappedSource


def select_images(source: Source, rows: Sequence[int]) -> Source:
    """Make a source of some images of another; it is scanned as the other is, if the rows are in rising order.

    Args:
        source: contributions in memory or on disk.
        rows: places of the images.
    """
    if isinstance(source, Contributions):
        return source.take(rows)
    if isinstance(source, Scanned) and all(a < b for a, b in pairwise(rows)):
        return ScannedSelection(source, tuple(rows))
    return Selection(source, tuple(rows))


@dataclass(frozen=True, slots=True)
class Selection(WrappedSource):
    """A source that has only some images of another one, in an order of its own.

    Attributes:
        rows: their places in the source.
    """

    rows: tuple[int, ...]

    def settings(self) -> object:
        """Return the rows."""
        return self.rows

    def __len__(self) -> int:
        """Count the images."""
        return len(self.rows)

    def take(self, rows: Sequence[int]) -> Contributions:
        """Take the contributions of some of the images, in the order asked for."""
        return self.source.take([self.rows[row] for row in rows])


@dataclass(frozen=True, slots=True)
class ScannedSelection(Selection):
    """Images in rising order of a source that is scanned: what lies between them is read and dropped."""

    source: Scanned

    def basis(self, component: Component) -> Float[Tensor, "d r"] | None:
        """Return the source's orthonormal columns of a component."""
        return self.source.basis(component)

    def coefficients(self, component: Component, rows: range) -> Float[Tensor, "n r"]:
        """Read a component's coefficients for consecutive images of the selection."""
        wanted = self._places(rows)
        if not len(wanted):
            return self.source.coefficients(component, range(0))
        covering = range(int(wanted[0]), int(wanted[-1]) + 1)
        return self.source.coefficients(component, covering)[torch.from_numpy(wanted - covering.start)]

    def scan(self, components: Sequence[Component], size: int, rows: range | None = None) -> Iterator[Block]:
        """Yield coefficients of some components for consecutive images of the selection, at most so many at a time."""
        rows = range(len(self)) if rows is None else rows
        wanted, done = self._places(rows), rows.start
        if not len(wanted):
            return
        for block in self.source.scan(components, size, range(int(wanted[0]), int(wanted[-1]) + 1)):
            inside = wanted[(wanted >= block.rows.start) & (wanted < block.rows.stop)] - block.rows.start
            if len(inside):
                index = torch.from_numpy(inside)
                yield Block(range(done, done + len(inside)), tuple(part[index] for part in block.parts), block.scales)
                done += len(inside)

    def _places(self, rows: range) -> np.ndarray:
        return np.asarray(self.rows[rows.start : rows.stop], dtype=np.int64)
