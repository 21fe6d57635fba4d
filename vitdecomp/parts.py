"""What several processes write at once: rows beside a store, which count when they are taken over."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vitdecomp.columns import COMPONENT, PARTS
from vitdecomp.rows import is_raw
from vitdecomp.tables import Table

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
COMPACT = 64  # records after which the table's small files are merged


@dataclass(frozen=True, slots=True)
class Part:
    """Images that one process wrote together.

    Attributes:
        record: its row in the table. place: of its first image in the data set. ids: of its images.
        columns: of their components. fragment: where they are in `images.lance`; `None` if they are in the record.
    """

    record: int
    place: int
    ids: tuple[str, ...]
    columns: frozenset[str]
    fragment: str | None


class Parts:
    """The table `parts.lance` of a store that is being written: a record for each chunk that a process wrote.

    A record is appended when the rows are written, so that a process that is killed loses the chunk it was at. Any
    number of processes append at once. Rows that the store's encodings do not fit are in the record, as they are.

    Args:
        uri: of the store.
        options: of the object store.
    """

    def __init__(self, uri: str, options: Mapping[str, str] | None = None) -> None:
        self.table = Table(f"{uri.rstrip('/')}/{PARTS}", options)
        self.open()

    def __len__(self) -> int:
        """Number of records."""
        return len(self.table)

    def open(self) -> bool:
        """Look at what is there; `False` if no record is."""
        return self.table.open() and len(self) > 0

    def start(self) -> None:
        """Let processes append."""
        if not self.table.open():
            self.table.replace(SCHEMA.empty_table())

    def record(self, place: int, rows: pa.Table, images: Table) -> None:
        """Write rows, and note that they are there.

        Args:
            place: of the first image in the data set.
            rows: as `rows_of` gives them.
            images: the table that they are for.

        Raises:
            OutputError: they cannot be written.
        """
        raw = is_raw(rows)
        told = {
            "place": place,
            "ids": rows["id"].to_pylist(),
            "digests": rows["digest"].to_pylist(),
            "columns": [name for name in rows.column_names if COMPONENT.fullmatch(name)],
            "fragment": None if raw else images.fragment(rows),
            "rows": _packed(rows) if raw else None,
        }
        self.table.append(pa.Table.from_pylist([told], schema=SCHEMA))

    def known(self) -> dict[str, tuple[str, str]]:
        """Digests of the images that are there, by their ids; nothing is known of their paths."""
        if not self.open():
            return {}
        table = self.table.rows(["ids", "digests"])
        ids, digests = (pc.call_function("list_flatten", [column]).to_pylist() for column in table.columns)
        return {id_: (digest, "") for id_, digest in zip(ids, digests, strict=True)}

    def apart_from(self, known: Set[str]) -> list[Part]:
        """Parts whose images are not known, in the order of the data set; of what was written twice one.

        What a process wrote that was believed dead, and another wrote again, is there twice.
        """
        if not self.open():
            return []
        told = self.table.rows(["place", "ids", "columns", "fragment"]).to_pylist()
        parts = [
            Part(record, row["place"], tuple(row["ids"]), frozenset(row["columns"]), row["fragment"])
            for record, row in enumerate(told)
        ]
        taken, wanted = set(known), []
        for part in sorted(parts, key=lambda part: (part.place, part.record)):
            if taken.isdisjoint(part.ids):
                taken.update(part.ids)
                wanted.append(part)
        return wanted

    def rows(self, part: Part, images: Table) -> pa.Table:
        """The rows of a part."""
        if part.fragment is not None:
            return images.written(part.fragment)
        return _unpacked(self.table.rows(["rows"], [part.record])["rows"][0].as_buffer())

    def tidy(self, done: int) -> None:
        """Merge small files now and then; others may append meanwhile."""
        if done % COMPACT == 0 and self.open():
            self.table.compact()

    def drop(self) -> None:
        """Forget all."""
        if self.table.open():
            self.table.drop()


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as file:
        file.write_table(rows)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _unpacked(data: pa.Buffer) -> pa.Table:
    return pa.ipc.open_file(data).read_all()
