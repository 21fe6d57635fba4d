"""A store while it is written: some images at a time, each time whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from vitdecomp._utils.files import check_directory
from vitdecomp.errors import InputError, OutputError
from vitdecomp.store.data_files import local_path
from vitdecomp.store.encoding import PRECISIONS, Encoding, first_encoding, fitting
from vitdecomp.store.encodings import Encodings
from vitdecomp.store.lance import Table
from vitdecomp.store.lock import LOCK
from vitdecomp.store.metadata import Metadata
from vitdecomp.store.rows import Chunk, rows_of
from vitdecomp.store.schema import (
    BASES,
    COMPONENT,
    IMAGES,
    STAGING,
    bases_table,
    component_column,
    component_field,
    generations,
    numbers,
)
from vitdecomp.store.seal import amend, is_complete, open_latest, release, seal, unseal
from vitdecomp.store.table_metadata import count, metadata_of, roots_of
from vitdecomp.tables.columns import lists

TIDY = 64  # commits after which small files are merged


class StoreWriter:
    """Writes rows to a store; use it inside `locked`.

    Args:
        uri: of the store.
        options: of the object store.

    Attributes:
        metadata: of what is there already, if anything is.
        settled: whether the encodings that were there fitted what was written last.

    Raises:
        OutputError: the place holds something else or is damaged, or cannot be written.
    """

    def __init__(self, uri: str, options: Mapping[str, str] | None = None) -> None:
        self.uri = uri.rstrip("/")
        self.images = Table(f"{self.uri}/{IMAGES}", options)
        self.bases = Table(f"{self.uri}/{BASES}", options)
        self.settled = False
        self._encodings: list[Encoding] = []
        self._commits = 0
        self.metadata = self._earlier()

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    @property
    def own_metadata(self) -> Metadata:
        """Of what is there.

        Raises:
            OutputError: nothing is.
        """
        if self.metadata is None:
            raise OutputError(f"{self.uri} holds nothing yet")
        return self.metadata

    @property
    def complete(self) -> bool:
        """Whether the last run came to its end."""
        return self.metadata is not None and is_complete(self.images)

    @property
    def before(self) -> int:
        """Rows that were there when the present run began, by whichever process."""
        if self.metadata is None or self.complete:
            return len(self)
        return count(self.images, "before")

    def known(self) -> dict[str, tuple[str, str]]:
        """Digests and paths of the images that are there, by their ids, in their order."""
        if self.metadata is None:
            return {}
        table = self.images.rows(["id", "digest", "path"])
        return {
            row: (digest, path) for row, digest, path in zip(*(column.to_pylist() for column in table), strict=True)
        }

    def moved(self, old: str, new: str) -> None:
        """Note that the images under one path are under another now."""
        roots = roots_of(self.images)
        if roots.get(old, old) != new:
            amend(self.images, roots=json.dumps({**roots, old: new}))

    def write(self, metadata: Metadata, chunk: Chunk) -> None:
        """Add rows, and encode components anew that these need more for.

        Raises:
            OutputError: they cannot be written.
        """
        values = chunk.values.double().cpu().numpy()
        if self.metadata is None:
            self._encodings = [first_encoding(values[:, i], metadata.precision) for i in range(values.shape[1])]
            number = PRECISIONS[metadata.precision].basis
            self.bases.replace(bases_table(metadata, dict(enumerate(self._encodings)), number))
            self.images.replace(rows_of(metadata, chunk, self._encodings))
            self.metadata = metadata
        else:
            self.settled = not self.grow([dict(enumerate(values.swapaxes(0, 1)))])
            self.images.append(rows_of(metadata, chunk, self._encodings))
        self._commits += 1
        if self._commits % TIDY == 0:
            self.tidy()

    def encodings(self) -> list[Encoding]:
        """Those of all components."""
        if not self._encodings:
            self._encodings = Encodings(self.bases, self.own_metadata, self.images.schema.names).all()
        return self._encodings

    def grow(self, chunks: Iterable[Mapping[int, Float[np.ndarray, "n d"]]]) -> bool:
        """Make ready for more rows, with encodings that fit these contributions too.

        Args:
            chunks: contributions of some components to some images, by component.

        Returns:
            Whether there are other encodings now.

        Raises:
            OutputError: they cannot be written.
        """
        unseal(self.images, self.bases)
        if not self._encodings:
            self._drop_replaced()
        metadata, new = self.own_metadata, list(self.encodings())
        for values in chunks:
            for index, found in values.items():
                new[index] = fitting(new[index], found, metadata.precision)
        pairs = enumerate(zip(self._encodings, new, strict=True))
        changed = {index: pair for index, pair in pairs if pair[0] is not pair[1]}
        if changed:
            self._encode_anew(metadata, changed)
            self._encodings = new
        return bool(changed)

    def finish(self) -> None:
        """Merge small files, and say that all is there.

        Raises:
            OutputError: it cannot be written.
        """
        tables, begun = (self.images, self.bases), not self.complete
        if begun:
            for table in tables:
                table.compact()
            seal(*tables)
        if release(*tables) or begun:
            for table in tables:
                table.clean(alone=table.here)

    def tidy(self) -> None:
        """Merge small files and delete old ones; the last complete version stays for readers."""
        for table in (self.images, self.bases):
            table.tidy(alone=table.here)

    def _earlier(self) -> Metadata | None:
        """Read what is there."""
        place = local_path(self.uri)
        if place is not None:
            check_directory(place)
        if not self.images.open():
            _check_vacant(place)
            return None
        try:
            metadata = metadata_of(self.images)
            open_latest(self.images, self.bases)
        except InputError as error:
            raise OutputError(f"{error}") from error
        return metadata

    def _drop_replaced(self) -> None:
        """Drop columns that a killed process had replaced already."""
        names = self.images.schema.names
        newest = generations(names, COMPONENT)
        stale = [name for name in names if (m := COMPONENT.fullmatch(name)) and int(m[2]) != newest[int(m[1])]]
        if stale:
            self.images.drop_columns(stale)

    def _encode_anew(self, metadata: Metadata, changed: Mapping[int, tuple[Encoding, Encoding]]) -> None:
        """Carry the rows that are there over to other encodings: one commit, which counts or does not."""
        number = PRECISIONS[metadata.precision].basis
        self.bases.append(bases_table(metadata, {index: new for index, (_, new) in changed.items()}, number))
        schema = pa.schema([component_field(metadata.components[i], i, new) for i, (_, new) in changed.items()])
        old = {i: component_column(i, was.generation) for i, (was, _) in changed.items() if not was.fixed}

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in self.images.batches([*old.values(), "id"]):
                columns = []
                for index, (was, new) in changed.items():
                    stored = numbers(batch.column(old[index]), was.width) if index in old else was.held(len(batch))
                    columns.append(lists(new.carried(stored)))
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

        self.images.add_columns(schema, batches())
        if old:
            self.images.drop_columns(list(old.values()))


def _check_vacant(place: Path | None) -> None:
    """Refuse a folder with something else in it."""
    others = [] if place is None or not place.is_dir() else [p.name for p in place.iterdir()]
    if set(others) - {LOCK, IMAGES, BASES, STAGING}:
        raise OutputError(f"{place} is not empty and not a store: give a new folder for the result")
