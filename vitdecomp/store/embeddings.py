"""Vectors of other models, CLIP's say, kept beside the contributions in a store."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.schema import checked, plain
from vitdecomp.errors import InputError, OutputError, SpecError
from vitdecomp.provenance import Origin
from vitdecomp.store.data_files import REMEDY
from vitdecomp.store.lance import Table
from vitdecomp.store.lock import locked
from vitdecomp.store.schema import VECTORS, generations, numbers, vectors_column, vectors_field
from vitdecomp.store.seal import open_complete, open_latest, release, seal, unseal
from vitdecomp.tables.columns import lists


@dataclass(frozen=True, slots=True)
class _Words:
    """Whose vectors a column has, and where they come from."""

    vectors: str
    origin: Origin | None


class Embeddings:
    """Columns of a store's table of images, one for each model.

    Args:
        images: the table.
        bases: the other table.
        uri: of the store.
    """

    def __init__(self, images: Table, bases: Table, uri: str) -> None:
        self.images, self.bases, self.uri = images, bases, uri

    @property
    def columns(self) -> dict[str, str]:
        """Columns with vectors, by the name of the model.

        Raises:
            InputError: one does not say whose vectors it has, or has none.
        """
        schema = self.images.schema
        columns = [vectors_column(i, g) for i, g in generations(schema.names, VECTORS).items()]
        return {self._words(schema.field(column)).vectors: column for column in columns}

    def read(self, name: str) -> tuple[Float[Tensor, "n d_clip"], Origin | None]:
        """Read a model's vectors of all images, and where they come from.

        Raises:
            SpecError: there are none of that name.
            InputError: some images, which were added later, have none.
        """
        known = self.columns
        if name not in known:
            raise SpecError(f"{self.uri} has no vectors {name!r}{did_you_mean(name, list(known))}")
        field = self.images.schema.field(known[name])
        column = self.images.rows([field.name])[field.name]
        if column.null_count:
            raise InputError(
                f"{column.null_count} of {len(self.images)} images in {self.uri} have no vector of {name}: add them"
            )
        found = torch.from_numpy(numbers(column, field.type.list_size).copy())
        return found, self._words(field).origin

    def add(self, name: str, vectors: Float[Tensor, "n d_clip"], origin: Origin | None) -> None:
        """Keep a model's vectors of all images, instead of those of the same name.

        Raises:
            InputError: not one finite vector for each image.
            OutputError: they cannot be written.
        """
        if len(vectors) != len(self.images) or not bool(vectors.isfinite().all()):
            raise InputError(f"{len(vectors)} vectors for {len(self.images)} images: give a finite one for each")
        numbered, known = generations(self.images.schema.names, VECTORS), self.columns
        index, generation = max(numbered, default=-1) + 1, 0
        if name in known:
            index = next(i for i, g in numbered.items() if vectors_column(i, g) == known[name])
            generation = numbered[index] + 1
        field = vectors_field(name, index, generation, vectors.shape[1], origin)
        column = lists(vectors.detach().float().cpu().numpy())
        with locked(self.uri):
            if not self.images.open() or len(self.images) != len(vectors):
                raise OutputError(f"{self.uri} was changed meanwhile: open it again")
            open_latest(self.images, self.bases)
            unseal(self.images, self.bases)
            schema = pa.schema([field])
            self.images.add_columns(schema, [pa.RecordBatch.from_arrays([column], schema=schema)])
            if name in known:
                self.images.drop_columns([known[name]])
            seal(self.images, self.bases)
            release(self.images, self.bases)
            open_complete(self.images, self.bases)

    def _words(self, field: pa.Field) -> _Words:
        """Read the description in a column."""
        place, told = f"the column {field.name} of {self.images.uri}", field.metadata or {}
        if not pa.types.is_fixed_size_list(field.type) or field.type.value_type != pa.float32():
            raise InputError(f"{place} does not fit its format: it holds {field.type}; {REMEDY}")
        words = {key.decode(): value.decode() for key, value in told.items()}
        origin = plain(words.pop("origin", ""), place=place, remedy=REMEDY)
        found: _Words = checked({**words, "origin": origin}, _Words, place=place, remedy=REMEDY)
        return found
