"""Which part of a store is exported, read a few images at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitdecomp._utils.progress import Progress
from vitdecomp.component import Component
from vitdecomp.store.store import Store

AT_ONCE = 2**26  # bytes of contributions that are read together, in float64


@dataclass(frozen=True, slots=True)
class Selected:
    """Some components of the first images of a store.

    Attributes:
        store: the store. components: some of its components, in its order. images: how many.
        progress: called with the images done and their number.
    """

    store: Store
    components: tuple[Component, ...]
    images: int
    progress: Progress | None = None

    def rows(self) -> Iterator[range]:
        """Yield consecutive images whose contributions take no more than `AT_ONCE` bytes, one image at least."""
        size = max(1, AT_ONCE // (8 * len(self.store.components) * self.store.dimension))
        for start in range(0, self.images, size):
            yield range(start, min(start + size, self.images))

    def values(self) -> Iterator[tuple[range, Tensor]]:
        """Yield contributions, `(n, component, d)`, and of which images they are."""
        places = {component: i for i, component in enumerate(self.store.components)}
        index = torch.tensor([places[component] for component in self.components])
        for rows in self.rows():
            yield rows, self.store.take(rows).values[:, index]
            if self.progress is not None:
                self.progress(rows.stop, self.images)


def select(store: Store, components: Sequence[Component], limit: int | None, progress: Progress | None) -> Selected:
    """Take some components of the first images."""
    images = len(store) if limit is None else min(limit, len(store))
    return Selected(store, tuple(components), images, progress)
