"""How rows that several processes wrote beside a store become rows of it."""

from __future__ import annotations

import pyarrow as pa

from vitdecomp.store.encodings import Bases
from vitdecomp.store.rows import carried_rows, raw_values
from vitdecomp.store.schema import component_column
from vitdecomp.store.staging import Part, Parts
from vitdecomp.store.writer import StoreWriter


def take_over(writer: StoreWriter, parts: Parts) -> None:
    """Add all that is recorded, in the order of the images, with one commit.

    Encodings grow first, by what did not fit. Whoever is killed on the way does it again: rows that are there already
    are left out, and encodings that have grown already fit.

    Raises:
        OutputError: they cannot be written.
    """
    wanted = parts.apart_from(writer.known().keys())
    if wanted:
        raw = (parts.rows(part) for part in wanted if part.fragment is None)
        writer.grow(raw_values(rows, writer.own_header) for rows in raw)
        present = _Present(writer, parts)
        writer.images.commit([present.fragment(part) for part in wanted])
    parts.drop()


class _Present:
    """Parts under the encodings that a store has now."""

    def __init__(self, writer: StoreWriter, parts: Parts) -> None:
        self.images, self.parts, self.header = writer.images, parts, writer.own_header
        self.encodings = writer.encodings()
        self.constants = Bases(writer.bases, self.header, writer.images.schema.names).constants
        self.columns = {component_column(i, e.generation) for i, e in enumerate(self.encodings) if not e.fixed}

    def fragment(self, part: Part) -> str:
        """The part as it is, or written again if encodings have grown since."""
        if part.fragment is not None and part.columns == self.columns:
            return part.fragment
        rows: pa.Table = self.parts.rows(part)
        return self.images.fragment(carried_rows(rows, self.header, self.encodings, self.constants))
