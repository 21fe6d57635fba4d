"""Contributions to images with classes and groups, without the images that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vitdecomp._utils.progress import Progress
from vitdecomp.component import Component
from vitdecomp.datasets.grouped import Grouped
from vitdecomp.extract.config import ExtractConfig
from vitdecomp.extract.entry import cached
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import PreparedModel
from vitdecomp.sources.selection import Selection
from vitdecomp.sources.source import Columns, Source
from vitdecomp.units import Directions, SplitSource


@dataclass(frozen=True, slots=True)
class GroupedSource:
    """Contributions with the classes and groups of their images.

    Attributes:
        store: the contributions, perhaps split into units. rows: of each image that could be read.
        images: these images, in the same order. skipped: names of the others.
    """

    store: Columns
    rows: tuple[int, ...]
    images: Grouped
    skipped: tuple[str, ...]

    @property
    def source(self) -> Source:
        """One row for each image."""
        return Selection(self.store, self.rows)

    def split(self, directions: Directions) -> GroupedSource:
        """Split the components into units."""
        return replace(self, store=SplitSource(self.store, directions))


def cached_grouped(
    prepared: PreparedModel,
    images: Grouped,
    cache: Path,
    *,
    by: str = "head",
    loading: Loading,
    progress: Progress | None = None,
    check: Callable[[Sequence[Component]], object] | None = None,
) -> GroupedSource:
    """Extract the contributions to images, or read them from the cache; arguments as for `cached`.

    Raises:
        InputError: no image can be read, or one cannot be and none may be skipped.
        OutputError: the cache cannot be written.
    """
    store = cached(prepared, ExtractConfig(images, by), cache, loading=loading, progress=progress, check=check)
    rows = {name: row for row, name in enumerate(store.ids)}
    names = [picture.id for picture in images.pictures]
    readable = [place for place, name in enumerate(names) if name in rows]
    known = tuple(rows[names[place]] for place in readable)
    return GroupedSource(store, known, images.at(readable), tuple(name for name in names if name not in rows))
