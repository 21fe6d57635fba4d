"""Numbers of some images of a store, read from its columns or from memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.store.encodings import Encodings
from vitdecomp.store.lance import Table
from vitdecomp.store.schema import numbers

SCANNED = 8192  # rows of a few columns that are read together fastest


class Stored:
    """What stands in the rows of a store.

    Args:
        images: the table of images.
        bases: encodings of the components.
        dimension: of the representation.
        kept: bytes of columns that are kept in memory when scattered rows are asked for; more are read each time.
    """

    def __init__(self, images: Table, bases: Encodings, dimension: int, kept: int) -> None:
        self._images, self._encodings, self._dimension, self._small = images, bases, dimension, kept
        self._kept: tuple[list[Float[np.ndarray, "n r"]], Float[np.ndarray, "n d"]] | None = None

    def values(self, rows: Sequence[int], dtype: torch.dtype) -> Float[Tensor, "n component d"]:
        """Contributions of all components."""
        values = torch.empty((len(rows), len(self._encodings), self._dimension), dtype=dtype)
        wide = torch.promote_types(dtype, torch.float32)
        for index, stored in enumerate(self._coefficients(rows)):
            encoding = self._encodings[index]
            found = torch.from_numpy(encoding.coefficients(stored)).to(wide)
            basis = None if encoding.basis is None else torch.from_numpy(encoding.basis).to(wide)
            values[:, index] = found if basis is None else found @ basis.T
        return values

    def embedding(self, rows: range | Sequence[int] | None) -> Float[Tensor, "n d"]:
        """Read the representations, in float32."""
        found = self._embedding(rows) if self._kept is None or rows is None else self._kept[1][_places(rows)]
        return torch.from_numpy(found.copy())

    def loss(self, values: Float[Tensor, "n component d"], rows: Sequence[int], *, exact: bool) -> Float[Tensor, " n"]:
        """|sum read - representation| / |representation|, in float64.

        Args:
            values: contributions that were read.
            rows: of which images.
            exact: they are more precise than the representation, which is kept in float32; the answer is then a bound,
                from the loss of each component.
        """
        whole = self.embedding(rows).double()
        length = torch.linalg.vector_norm(whole, dim=1).clamp_min(torch.finfo(torch.float64).tiny)
        if exact:
            each = numbers(self._images.rows(["loss"], rows)["loss"], len(self._encodings))
            lost = (torch.from_numpy(each.astype(np.float64)) * torch.linalg.vector_norm(values, dim=2)).sum(1)
        else:
            lost = torch.linalg.vector_norm(values.sum(1, dtype=torch.float64) - whole, dim=1)
        loss: Tensor = lost / length
        return loss

    def batches(self, columns: Sequence[str], size: int, rows: range) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield some columns of consecutive images, at most so many at a time, and how many these are."""
        if columns and len(rows):
            part = None if len(rows) == len(self._images) else rows
            batches = self._images.batches(columns, min(size, SCANNED), self._images.version, part)
            yield from ((len(batch), batch) for batch in batches)
        else:
            yield from ((min(size, rows.stop - start), None) for start in range(rows.start, rows.stop, size))

    def _coefficients(self, rows: Sequence[int]) -> Iterator[Float[np.ndarray, "n r"]]:
        """Yield what is stored of each component."""
        small = self._encodings.bytes_per_row() * len(self._images) <= self._small
        if not _consecutive(rows) and self._kept is None and small:
            everything = range(len(self._images))
            self._kept = list(self._read(everything)), self._embedding(everything)
        if self._kept is None:
            yield from self._read(rows)
        else:
            yield from (kept[_places(rows)] for kept in self._kept[0])

    def _read(self, rows: Sequence[int]) -> Iterator[Float[np.ndarray, "n r"]]:
        columns = [self._encodings.column(index) for index in range(len(self._encodings))]
        moving = [column for column in columns if column is not None]
        table = self._images.rows(moving, rows) if moving else {}
        self._encodings.all()
        for index, column in enumerate(columns):
            encoding = self._encodings[index]
            yield encoding.held(len(rows)) if column is None else numbers(table[column], encoding.width)

    def _embedding(self, rows: range | Sequence[int] | None) -> Float[np.ndarray, "n d"]:
        return numbers(self._images.rows(["embedding"], rows)["embedding"], self._dimension)


def _consecutive(rows: Sequence[int]) -> bool:
    return isinstance(rows, range) and rows.step == 1


def _places(rows: Sequence[int]) -> slice | list[int]:
    return slice(rows[0], rows[-1] + 1) if _consecutive(rows) and len(rows) else list(rows)
