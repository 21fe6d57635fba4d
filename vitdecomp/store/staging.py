"""Rows that several processes write at once: staged beside a store, and merged into it when all are done."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from os import getpid
from time import sleep

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from vitdecomp.errors import OutputError
from vitdecomp.store.data_files import local_path
from vitdecomp.store.encoding import Encoding
from vitdecomp.store.encodings import Encodings
from vitdecomp.store.lance import Table
from vitdecomp.store.metadata import Metadata
from vitdecomp.store.rows import in_schema
from vitdecomp.store.schema import COMPONENT, RAW, STAGING, component_column, numbers
from vitdecomp.store.table_metadata import count
from vitdecomp.store.writer import StoreWriter
from vitdecomp.tables.columns import lists

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
TABLES = "parts"  # key of their number in the configuration of `images.lance`
CONFLICTS = ("conflict", "already exists")
ATTEMPTS = 20  # to append to a table that other processes append to, each after a longer pause


@dataclass(frozen=True, slots=True)
class StagedRows:
    """Describe the rows of images that one process wrote together.

    Attributes:
        table, record: where the record of them is. place: of the first image in the data set. ids: of the images.
        columns: of the components that are encoded. fragment: of `images.lance`, with the rows; `None` if the record
            holds them, because the encodings of the store did not fit.
    """

    table: Table
    record: int
    place: int
    ids: tuple[str, ...]
    columns: frozenset[str]
    fragment: str | None

    def read(self, images: Table) -> pa.Table:
        """Read the rows, encoded or raw."""
        if self.fragment is not None:
            return images.written(self.fragment)
        packed = self.table.rows(["rows"], [self.record])["rows"][0].as_buffer()
        return pa.ipc.open_file(packed).read_all()


class Staging:
    """Stage rows in the folder `parts` of a store: a record for each chunk that a process has written.

    A record is appended once its rows are written, so that a process that is killed loses one chunk. Raw rows are
    stored in the record itself. Each process appends to a table of its own, because many writers of one table would
    wait for each other; `images.lance` holds the number of tables.

    Args:
        uri: of the store.
        images: its table `images.lance`.
    """

    def __init__(self, uri: str, images: Table) -> None:
        self.uri, self.images = f"{uri.rstrip('/')}/{STAGING}", images

    @property
    def tables(self) -> list[Table]:
        """List the tables that have records."""
        return [table for table in self._all() if len(table)]

    def start(self, tables: int) -> None:
        """Let processes append to this many tables."""
        if tables > count(self.images, TABLES):
            self.images.set(**{TABLES: str(tables)})

    def own(self, number: int) -> Table:
        """Open the table that one process appends to."""
        table = self._table(number)
        _retry(lambda: None if table.open() else table.replace(SCHEMA.empty_table()))
        return table

    def record(self, table: Table, place: int, rows: pa.Table) -> None:
        """Write rows, then a record of them.

        Args:
            table: of this process.
            place: of the first image in the data set.
            rows: as `rows_of` returns them.

        Raises:
            OutputError: they cannot be written.
        """
        raw = any(name.startswith(RAW) for name in rows.column_names)
        record = {
            "place": place,
            "ids": rows["id"].to_pylist(),
            "digests": rows["digest"].to_pylist(),
            "columns": [name for name in rows.column_names if COMPONENT.fullmatch(name)],
            "fragment": None if raw else self.images.fragment(rows),
            "rows": _packed(rows) if raw else None,
        }
        packed = pa.Table.from_pylist([record], schema=SCHEMA)
        _retry(lambda: table.append(packed))

    def known(self) -> dict[str, tuple[str, str]]:
        """Return the digests of all staged images by their ids, each with an empty path."""
        found = {}
        for table in self.tables:
            columns = table.rows(["ids", "digests"]).columns
            ids, digests = (pc.call_function("list_flatten", [column]).to_pylist() for column in columns)
            found.update({id_: (digest, "") for id_, digest in zip(ids, digests, strict=True)})
        return found

    def merge_into(self, writer: StoreWriter) -> None:
        """Add all staged rows to the store, in the order of the images and in one commit.

        Encodings grow first, until they fit the raw rows. A merge that is interrupted can be repeated: rows that the
        store already has are left out, and encodings that have already grown still fit.

        Raises:
            OutputError: they cannot be written.
        """
        staged = self.missing(writer.known().keys())
        if staged:
            metadata = writer.own_metadata
            raw = (rows.read(self.images) for rows in staged if rows.fragment is None)
            writer.grow(raw_values(rows, metadata) for rows in raw)
            encodings = writer.encodings()
            fixed = Encodings(writer.bases, metadata, writer.images.schema.names).fixed_widths
            current = {component_column(i, e.generation) for i, e in enumerate(encodings) if not e.fixed}

            def fragment(rows: StagedRows) -> str:
                if rows.fragment is not None and rows.columns == current:
                    return rows.fragment
                return writer.images.fragment(reencoded(rows.read(self.images), metadata, encodings, fixed))

            writer.images.commit([fragment(rows) for rows in staged])
        self.drop()

    def drop(self) -> None:
        """Delete everything that is staged."""
        for table in self._all():
            table.drop()
        self.images.set(**{TABLES: "0"})
        place = local_path(self.uri)
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)

    def missing(self, known: Set[str]) -> list[StagedRows]:
        """List the rows of images that are not known, in the order of the data set.

        Images can be staged twice, if a process that was believed dead wrote them after all: one copy is taken.
        """
        seen, missing = set(known), []
        for rows in sorted((rows for table in self.tables for rows in _records(table)), key=lambda rows: rows.place):
            if seen.isdisjoint(rows.ids):
                seen.update(rows.ids)
                missing.append(rows)
        return missing

    def _all(self) -> list[Table]:
        number = count(self.images, TABLES) if self.images.open() else 0
        return [table for table in map(self._table, range(number)) if table.open()]

    def _table(self, number: int) -> Table:
        return Table(f"{self.uri}/{number}.lance", self.images.options)


def raw_values(rows: pa.Table, metadata: Metadata) -> dict[int, Float[np.ndarray, "n d"]]:
    """Return the contributions that are not encoded yet, in float64, by component."""
    names = {index: f"{RAW}{index}" for index in range(len(metadata.components))}
    return {
        index: numbers(rows[name], metadata.dimension).astype(np.float64, copy=False)
        for index, name in names.items()
        if name in rows.column_names
    }


def reencoded(
    rows: pa.Table, metadata: Metadata, encodings: Sequence[Encoding], fixed_widths: Mapping[int, int]
) -> pa.Table:
    """Encode rows by later encodings that fit all of them; what is encoded already is not rounded again.

    Args:
        rows: as `rows_of` returns them, made with the same encodings or earlier ones.
        metadata: of the store.
        encodings: the latest ones.
        fixed_widths: widths of the components that were fixed at first.
    """
    raw = raw_values(rows, metadata)
    found = {name: rows[name].combine_chunks() for name in rows.column_names if not name.startswith(RAW)}
    earlier = {int(match[1]): name for name in found if (match := COMPONENT.fullmatch(name))}
    loss = numbers(found["loss"], len(encodings)).copy()
    for index, encoding in enumerate(encodings):
        name = component_column(index, encoding.generation)
        if index in raw:
            coded = encoding.code(raw[index])
            loss[:, index], stored = coded.loss, coded.stored
        elif encoding.fixed or name in found:
            continue
        elif index in earlier:
            before = found[earlier[index]]
            stored = encoding.carried(numbers(before, before.type.list_size))
        else:
            stored = encoding.carried(encoding.held(len(rows))[:, : fixed_widths[index]])
        found[name] = lists(stored)
    return in_schema(metadata, encodings, {**found, "loss": lists(loss)})


def _records(table: Table) -> list[StagedRows]:
    read = table.rows(["place", "ids", "columns", "fragment"]).to_pylist()
    return [
        StagedRows(table, record, row["place"], tuple(row["ids"]), frozenset(row["columns"]), row["fragment"])
        for record, row in enumerate(read)
    ]


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as file:
        file.write_table(rows)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _retry(commit: Callable[[], None]) -> None:
    """Commit, again and again if other processes commit to the same table."""
    for attempt in range(ATTEMPTS):
        try:
            return commit()
        except OutputError as error:
            if not any(word in str(error).lower() for word in CONFLICTS) or attempt + 1 == ATTEMPTS:
                raise
            sleep(0.05 * (attempt + 1) * (1 + getpid() % 7))  # so that not all try again at the same time
    return None
