"""The encodings of a store's components, each read when it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa

from vitdecomp._utils.schema import Count, Within, checked
from vitdecomp.errors import DamageError, InputError
from vitdecomp.store.data_files import REMEDY
from vitdecomp.store.encoding import Encoding
from vitdecomp.store.lance import Table
from vitdecomp.store.metadata import Metadata
from vitdecomp.store.schema import COMPONENT, component_column, generations

AT_ONCE = 64  # bases that are read together


@dataclass(frozen=True, slots=True)
class EncodingRow:
    """A row of `bases.lance`, but for the basis; rank -1 is full rank."""

    component: Count
    generation: Count
    format: Literal["float16", "float32", "float64"]
    scale: Annotated[float, Within(5e-324, 1.7e308)]
    fixed: bool
    rank: Annotated[int, Within(-1, 2**24)]


class Encodings:
    """The encodings that count, of all components.

    Args:
        table: `bases.lance`, opened.
        metadata: of the store.
        names: columns of `images.lance`.

    Attributes:
        fixed_widths: how wide the components are, or were, that began as fixed ones.

    Raises:
        InputError: one is missing, or cannot be one.
    """

    def __init__(self, table: Table, metadata: Metadata, names: Sequence[str]) -> None:
        self._table, self._dimension = table, metadata.dimension
        newest = generations(names, COMPONENT)
        self._rows: dict[int, int] = {}
        self._records: dict[int, EncodingRow] = {}
        self._found: dict[int, Encoding] = {}
        self.fixed_widths: dict[int, int] = {}
        place, kind = f"the encodings in {table.uri}", dict(zip(table.schema.names, table.schema.types, strict=True))
        if kind.get("basis") not in (pa.large_list(pa.float32()), pa.large_list(pa.float64())):
            raise InputError(f"{place} do not fit their format: their bases are {kind.get('basis')}; {REMEDY}")
        found = table.rows([f.name for f in fields(EncodingRow)]).to_pylist()
        for row, told in enumerate(checked(found, tuple[EncodingRow, ...], place=place, remedy=REMEDY)):
            index = told.component
            if told.fixed:
                self.fixed_widths[index] = told.rank
            if told.fixed if index not in newest else told.generation == newest[index]:
                self._rows[index], self._records[index] = row, told  # of two attempts the last one was carried out
        missing = [c.name for i, c in enumerate(metadata.components) if i not in self._rows]
        if missing:
            raise DamageError(f"{table.uri} is damaged: it has no encoding of {missing[0]}; {REMEDY}")
        odd = (told.rank > self._dimension or (told.fixed and i in newest) for i, told in self._records.items())
        if len(self._records) > len(metadata.components) or any(odd):
            raise DamageError(f"{table.uri} is damaged: its encodings are of another model; {REMEDY}")
        self._names = {i: component_column(i, told.generation) for i, told in self._records.items()}

    def __len__(self) -> int:
        """Count the components."""
        return len(self._records)

    def column(self, index: int) -> str | None:
        """Return the name of a component's column; `None` for one that is fixed."""
        return None if self._records[index].fixed else self._names[index]

    def columns(self) -> Iterator[tuple[str, int, str]]:
        """Name, width and number format of each column."""
        for index, told in self._records.items():
            if not told.fixed:
                yield self._names[index], self._dimension if told.rank < 0 else told.rank, told.format

    def bytes_per_row(self) -> int:
        """Count the bytes that all columns of one image take."""
        return sum(width * np.dtype(number).itemsize for _, width, number in self.columns())

    def __getitem__(self, index: int) -> Encoding:
        """Return the encoding of a component."""
        if index not in self._found:
            self._read([index])
        return self._found[index]

    def all(self) -> list[Encoding]:
        """Return the encodings of all components, in their order."""
        wanted = [index for index in range(len(self)) if index not in self._found]
        for start in range(0, len(wanted), AT_ONCE):
            self._read(wanted[start : start + AT_ONCE])
        return [self._found[index] for index in range(len(self))]

    def _read(self, indices: Sequence[int]) -> None:
        read = self._table.rows(["basis"], [self._rows[index] for index in indices])["basis"].combine_chunks()
        for place, index in enumerate(indices):
            told, cell = self._records[index], read[place]
            basis = None
            if told.rank >= 0:
                flat = np.empty(0) if cell.values is None else cell.values.to_numpy(zero_copy_only=False)
                if len(flat) != self._dimension * told.rank:
                    raise DamageError(f"{self._table.uri} is damaged: a basis has {len(flat)} numbers; {REMEDY}")
                basis = flat.copy().reshape(self._dimension, told.rank)  # torch wants what could be written to
            self._found[index] = Encoding(
                self._dimension, basis, told.format, told.scale, fixed=told.fixed, generation=told.generation
            )
