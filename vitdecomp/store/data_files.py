"""The data files of a Lance table: whether they are there, whole, and what was written.

A reader compares the checksums of the columns that it reads, in the files in which its rows are, at the first time.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vitdecomp.errors import DamageError
from vitdecomp.store.block_checksums import Blocks, block_checksums

FEW = 4  # a file of so many blocks is checked whole: finding a column in it costs more
REMEDY = "restore it from a copy, or delete the store and run the same `vitdecomp extract` again"


def local_path(uri: str) -> Path | None:
    """Return the path that a URI means on this machine, or `None` if it is elsewhere."""
    scheme, found, rest = uri.partition("://")
    if not found:
        return Path(uri)
    return Path(rest) if scheme in ("file", "file-object-store") else None


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file.

    Attributes:
        path: in the folder `data`. size: in bytes, if it is known.
        rows: that stand in it. columns: their places in the file, by the ids of their fields.
    """

    path: str
    size: int | None
    rows: range
    columns: Mapping[int, int]


class DataFiles:
    """The files of one version of a table.

    Args:
        data: Lance's handle. uri: of the table. options: of the object store.
        blocks: checksums of the files, by path, as far as they were recorded.
    """

    def __init__(self, data: Any, uri: str, options: Mapping[str, str] | None, blocks: Mapping[str, Blocks]) -> None:
        self.folder, self.options = f"{uri}/data", None if options is None else dict(options)
        self._data, self._files = data, list(_files(data))
        self._starts = sorted({file.rows.start for file in self._files})
        self._ids = {one.name(): frozenset(_ids(one)) for one in data.lance_schema.fields()}
        self._blocks = blocks

    def told(self) -> str:
        """Return all that decides what is read of the files: columns, and what stands where, as JSON."""
        schema = self._data.schema
        columns = [
            [one.id(), one.name(), str(known.type), known.nullable, _words(known.metadata)]
            for one, known in zip(self._data.lance_schema.fields(), schema, strict=True)
        ]
        files = [[file.path, file.rows.start, file.rows.stop, sorted(file.columns.items())] for file in self._files]
        return json.dumps([columns, _words(schema.metadata), files])

    @property
    def unknown(self) -> int:
        """How many files have no checksum."""
        return sum(file.path not in self._blocks for file in self._files)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._files)

    def check_small(self, rows: int) -> None:
        """Compare the checksums of those files that have fewer rows."""
        for file in self._files:
            if len(file.rows) < rows:
                self.check(rows=file.rows)

    def damage(self) -> str | None:
        """Describe what is wrong with the files, as far as their sizes tell; `None` if nothing is, or elsewhere."""
        root = local_path(self.folder)
        if root is None:
            return None
        for file in self._files:
            path = root / file.path
            if not path.is_file() or (file.size and path.stat().st_size != file.size):
                return f"{path} is {'cut off' if path.is_file() else 'missing'}"
        return None

    def check(self, columns: Iterable[str] | None = None, rows: range | Sequence[int] | None = None) -> None:
        """Compare the checksums of what is about to be read, so far as they are recorded and nobody has done it.

        Args:
            columns: their names; all, if not given.
            rows: all, if not given.

        Raises:
            DamageError: one differs, or a file is gone.
        """
        if not self._blocks:
            return
        ids = None if columns is None else frozenset().union(*(self._ids.get(name, ()) for name in columns))
        starts = None if rows is None else self._touched(rows)
        for file in self._files:
            if (starts is None or file.rows.start in starts) and file.path in self._blocks:
                there, seen = set(file.columns), self._blocks[file.path].columns
                wanted = (there if ids is None else there & ids) - seen
                if wanted:
                    self._check(file, wanted)
                    seen.update(wanted)

    def checksums(self, known: Mapping[str, str]) -> dict[str, str]:
        """Those of all files; what is not known is computed."""
        found = {}
        for file in self._files:
            if file.path in known:
                found[file.path] = known[file.path]
            else:
                with self._copy(file) as path:
                    found[file.path] = block_checksums(path)
        return found

    def _check(self, file: DataFile, ids: set[int]) -> None:
        blocks = self._blocks[file.path]
        with self._copy(file) as path:
            if ids == file.columns.keys() or len(blocks) <= FEW or local_path(self.folder) is None:
                damaged = blocks.differ(path, blocks.all)
            else:
                damaged = blocks.differ(path, blocks.all[-1:]) or blocks.differ(path, *self._ranges(path, file, ids))
            if damaged:
                where = f"{self.folder}/{file.path}"
                raise DamageError(f"cannot read {where}: it is damaged (its checksum differs); {REMEDY}")

    def _ranges(self, path: Path, file: DataFile, ids: set[int]) -> Iterator[range]:
        """Yield the bytes in which columns stand: first the list of these bytes, at the end of the file."""
        from lance.file import LanceFileReader

        size, told = path.stat().st_size, LanceFileReader(str(path)).metadata()
        yield range(told.num_data_bytes, size)
        for column in (told.columns[file.columns[id_]] for id_ in ids):
            for buffers in (column.column_buffers, *(page.buffers for page in column.pages)):
                yield from (range(buffer.position, buffer.position + buffer.size) for buffer in buffers)

    def _touched(self, rows: range | Sequence[int]) -> set[int]:
        """First rows of the files in which some rows are."""
        consecutive = isinstance(rows, range) and rows.step == 1
        if consecutive and len(rows):
            low, high = (bisect_right(self._starts, row) for row in (rows[0], rows[-1]))
            return set(self._starts[max(low - 1, 0) : high])
        return {self._starts[bisect_right(self._starts, row) - 1] for row in rows}

    @contextmanager
    def _copy(self, file: DataFile) -> Iterator[Path]:
        """Yield the file, or a copy for as long as it is needed."""
        root = local_path(self.folder)
        if root is not None:
            try:
                yield root / file.path
            except FileNotFoundError:
                raise DamageError(
                    f"cannot read {root / file.path}: it is missing; if the store was written to meanwhile, open it "
                    f"again; if not, {REMEDY}"
                ) from None
            return
        from lance.file import LanceFileSession

        with TemporaryDirectory() as place:
            copy = Path(place, "copy")
            LanceFileSession(self.folder, self.options).download_file(file.path, copy)
            yield copy


def _files(data: Any) -> Iterator[DataFile]:
    start = 0
    for fragment in data.get_fragments():
        told = fragment.metadata
        rows = range(start, start + told.physical_rows)
        for file in told.files:
            columns = dict(zip(file.fields, file.column_indices, strict=True))
            yield DataFile(str(file.path), file.file_size_bytes, rows, columns)
        start = rows.stop


def _ids(one: Any) -> Iterator[int]:
    """Of a field and what it consists of."""
    yield one.id()
    for child in one.children():
        yield from _ids(child)


def _words(metadata: Mapping[bytes, bytes] | None) -> list[list[str]]:
    return sorted([key.decode(), value.decode()] for key, value in (metadata or {}).items())
