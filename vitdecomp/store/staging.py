"""What several processes write at once: rows beside a store, which count when they are taken over."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from os import getpid
from time import sleep

import pyarrow as pa
import pyarrow.compute as pc

from vitdecomp.errors import OutputError
from vitdecomp.store.data_files import local_path
from vitdecomp.store.lance import Table
from vitdecomp.store.rows import is_raw
from vitdecomp.store.schema import COMPONENT, PARTS
from vitdecomp.store.table_metadata import count

SCHEMA = pa.schema(
    {
        "place": pa.int64(),
        "ids": pa.list_(pa.string()),
        "digests": pa.list_(pa.string()),
        "columns": pa.list_(pa.string()),
        "fragment": pa.string(),
        "rows": pa.large_binary(),
    }
)
CONFLICTS = ("conflict", "already exists")
ATTEMPTS = 20  # to append what others append to as well, each after a longer pause


@dataclass(frozen=True, slots=True)
class Part:
    """Images that one process wrote together.

    Attributes:
        table, record: where this is noted. place: of its first image in the data set. ids: of its images.
        columns: of their components. fragment: where they are in `images.lance`; `None` if they are in the record.
    """

    table: Table
    record: int
    place: int
    ids: tuple[str, ...]
    columns: frozenset[str]
    fragment: str | None


class Parts:
    """The tables in `parts` of a store that is being written: a record for each chunk that a process wrote.

    A record is appended when the rows are written, so that a process that is killed loses the chunk it was at. Rows
    that the store's encodings do not fit are in the record, as they are. Each process has a table of its own, since
    many that append to one would wait for one another; how many there are is noted in `images.lance`.

    Args:
        uri: of the store.
        images: its table `images.lance`.
    """

    def __init__(self, uri: str, images: Table) -> None:
        self.uri, self.images = f"{uri.rstrip('/')}/{PARTS}", images

    @property
    def tables(self) -> list[Table]:
        """Those that have records."""
        return [table for table in self._all() if len(table)]

    def start(self, tables: int) -> None:
        """Let processes append to so many tables."""
        there = count(self.images, "parts")
        if tables > there:
            self.images.set(parts=str(tables))

    def own(self, number: int) -> Table:
        """The table of a process, to append to."""
        table, empty = self._table(number), SCHEMA.empty_table()
        _patiently(lambda: None if table.open() else table.replace(empty))
        return table

    def record(self, table: Table, place: int, rows: pa.Table) -> None:
        """Write rows, and note that they are there.

        Args:
            table: of this process.
            place: of the first image in the data set.
            rows: as `rows_of` gives them.

        Raises:
            OutputError: they cannot be written.
        """
        raw = is_raw(rows)
        told = {
            "place": place,
            "ids": rows["id"].to_pylist(),
            "digests": rows["digest"].to_pylist(),
            "columns": [name for name in rows.column_names if COMPONENT.fullmatch(name)],
            "fragment": None if raw else self.images.fragment(rows),
            "rows": _packed(rows) if raw else None,
        }
        record = pa.Table.from_pylist([told], schema=SCHEMA)
        _patiently(lambda: table.append(record))

    def known(self) -> dict[str, tuple[str, str]]:
        """Digests of the images that are there, by their ids; nothing is known of their paths."""
        found = {}
        for table in self.tables:
            columns = table.rows(["ids", "digests"]).columns
            ids, digests = (pc.call_function("list_flatten", [column]).to_pylist() for column in columns)
            found.update({id_: (digest, "") for id_, digest in zip(ids, digests, strict=True)})
        return found

    def apart_from(self, known: Set[str]) -> list[Part]:
        """Parts whose images are not known, in the order of the data set; of what was written twice one.

        What a process wrote that was believed dead, and another wrote again, is there twice.
        """
        parts = [part for table in self.tables for part in _parts(table)]
        taken, wanted = set(known), []
        for part in sorted(parts, key=lambda part: part.place):
            if taken.isdisjoint(part.ids):
                taken.update(part.ids)
                wanted.append(part)
        return wanted

    def rows(self, part: Part) -> pa.Table:
        """The rows of a part."""
        if part.fragment is not None:
            return self.images.written(part.fragment)
        return _unpacked(part.table.rows(["rows"], [part.record])["rows"][0].as_buffer())

    def drop(self) -> None:
        """Forget all."""
        for table in self._all():
            table.drop()
        self.images.set(parts="0")
        place = local_path(self.uri)
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)

    def _all(self) -> list[Table]:
        there = count(self.images, "parts") if self.images.open() else 0
        return [table for table in map(self._table, range(there)) if table.open()]

    def _table(self, number: int) -> Table:
        return Table(f"{self.uri}/{number}.lance", self.images.options)


def _patiently(commit: Callable[[], None]) -> None:
    """Commit even if others that took the same table do so at the same time."""
    for attempt in range(ATTEMPTS):
        try:
            return commit()
        except OutputError as error:
            if not any(word in str(error).lower() for word in CONFLICTS) or attempt + 1 == ATTEMPTS:
                raise
            sleep(0.05 * (attempt + 1) * (1 + getpid() % 7))  # not all at the same time
    return None


def _parts(table: Table) -> Iterator[Part]:
    for record, row in enumerate(table.rows(["place", "ids", "columns", "fragment"]).to_pylist()):
        yield Part(table, record, row["place"], tuple(row["ids"]), frozenset(row["columns"]), row["fragment"])


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as file:
        file.write_table(rows)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _unpacked(data: pa.Buffer) -> pa.Table:
    return pa.ipc.open_file(data).read_all()
