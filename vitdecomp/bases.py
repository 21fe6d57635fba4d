"""The encodings of a store's components, each read when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitdecomp.columns import COMPONENT, component_column, encoding_of, generations
from vitdecomp.encoding import Encoding
from vitdecomp.errors import InputError
from vitdecomp.header import Header
from vitdecomp.tables import Table

TOLD = ("component", "generation", "format", "scale", "fixed", "rank")
AT_ONCE = 64  # bases that are read together


class Bases:
    """The encodings that count, of all components.

    Args:
        table: `bases.lance`, opened.
        header: of the store.
        names: columns of `images.lance`.

    Attributes:
        constants: how wide the components are, or were, that began as fixed ones.

    Raises:
        InputError: one is missing.
    """

    def __init__(self, table: Table, header: Header, names: Sequence[str]) -> None:
        self._table, self._dimension = table, header.dimension
        newest = generations(names, COMPONENT)
        self._rows: dict[int, int] = {}
        self._told: dict[int, dict[str, Any]] = {}
        self._found: dict[int, Encoding] = {}
        self.constants: dict[int, int] = {}
        for row, told in enumerate(table.rows(TOLD).to_pylist()):
            index = told["component"]
            if told["fixed"]:
                self.constants[index] = told["rank"]
            if told["fixed"] if index not in newest else told["generation"] == newest[index]:
                self._rows[index], self._told[index] = row, told  # of two attempts the last one was carried out
        missing = [c.name for i, c in enumerate(header.components) if i not in self._rows]
        if missing:
            raise InputError(f"{table.uri} is damaged: it has no encoding of {missing[0]}")
        self._names = {i: component_column(i, told["generation"]) for i, told in self._told.items()}

    def __len__(self) -> int:
        """Number of components."""
        return len(self._told)

    def column(self, index: int) -> str | None:
        """The name of a component's column; `None` for one that is fixed."""
        return None if self._told[index]["fixed"] else self._names[index]

    def bytes_per_row(self) -> int:
        """What all columns of one image take."""
        moving = [told for told in self._told.values() if not told["fixed"]]
        return sum(
            (self._dimension if told["rank"] < 0 else told["rank"]) * np.dtype(told["format"]).itemsize
            for told in moving
        )

    def __getitem__(self, index: int) -> Encoding:
        """The encoding of a component."""
        if index not in self._found:
            self._read([index])
        return self._found[index]

    def all(self) -> list[Encoding]:
        """The encodings of all components, in their order."""
        wanted = [index for index in range(len(self)) if index not in self._found]
        for start in range(0, len(wanted), AT_ONCE):
            self._read(wanted[start : start + AT_ONCE])
        return [self._found[index] for index in range(len(self))]

    def _read(self, indices: Sequence[int]) -> None:
        read = self._table.rows(["basis"], [self._rows[index] for index in indices])["basis"].combine_chunks()
        for place, index in enumerate(indices):
            told, cell = self._told[index], read[place]
            basis = None
            if told["rank"] >= 0:
                flat = cell.values.to_numpy(zero_copy_only=False).copy()  # torch wants what could be written to
                basis = flat.reshape(self._dimension, told["rank"])
            self._found[index] = encoding_of(told, self._dimension, basis)
