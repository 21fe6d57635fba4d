"""References that are among the images that are searched: they would be their own first hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vitdecomp._utils.checksum import digest
from vitdecomp.errors import InputError
from vitdecomp.images.reading import read_file
from vitdecomp.retrieval import Hit, Query
from vitdecomp.store.store import Store


@dataclass(frozen=True, slots=True)
class OwnHits:
    """The files that are looked for, and where the store has them.

    Attributes:
        files: absolute paths of the references. rows: of the images with the same content, for each.
    """

    files: tuple[Path, ...]
    rows: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, query: Query, store: Store) -> OwnHits:
        """Find the references of a query.

        Raises:
            InputError: one cannot be read.
        """
        files = [Path(image).absolute() for image in query.images if isinstance(image, (str, Path))]
        wanted: dict[str, list[int]] = {known: [] for known in map(_digest, files)}
        for row, known in enumerate(store.digests() if files else ()):
            if known in wanted:
                wanted[known].append(row)
        return cls(tuple(files), tuple(tuple(wanted[_digest(file)]) for file in files))

    def __len__(self) -> int:
        """Return how many hits these may be."""
        return len({row for rows in self.rows for row in rows}) + len(self.files)

    def __contains__(self, hit: Hit) -> bool:
        """Check whether a hit has a reference's content, or its place."""
        return any(hit.row in rows for rows in self.rows) or hit.path in self.files

    def as_rows(self, query: Query, store: Store) -> Query:
        """Write the query by rows of the store, which need no model.

        Raises:
            InputError: a reference is not there.
        """
        missing = next((file for file, rows in zip(self.files, self.rows, strict=True) if not rows), None)
        if missing is not None:
            raise InputError(
                f"{missing} is not among the images of {store.uri}: give MODEL to decompose it, "
                f"which is {store.metadata.model} as the store says"
            )
        return replace(query, image=tuple(rows[0] for rows in self.rows))

    def apart(self, hits: Sequence[Hit]) -> tuple[list[Hit], list[Hit]]:
        """Hits that are no references, and those that are."""
        return [hit for hit in hits if hit not in self], [hit for hit in hits if hit in self]


def _digest(file: Path) -> str:
    try:
        return digest([read_file(file)])
    except OSError as error:
        raise InputError(f"cannot read image {file}: {error.strerror or error}") from error
