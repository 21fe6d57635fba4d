"""Images' contributions as rows of a store: encoded, or as they are where no encoding of the store fits yet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.checksum import raw_bytes
from vitdecomp.datasets.image import Picture
from vitdecomp.store.encoding import PRECISIONS, Encoding, check_finite
from vitdecomp.store.metadata import Metadata
from vitdecomp.store.schema import RAW, component_column, groups_json, schema_of
from vitdecomp.tables.columns import lists


@dataclass(frozen=True, slots=True)
class Chunk:
    """Images that are written together.

    Attributes:
        pictures: what is known of them. paths: where they are. digests: SHA-256 of their files.
        values: contributions, `(n, component, d)`. error: of their sums, `(n,)`.
    """

    pictures: Sequence[Picture]
    paths: Sequence[str]
    digests: Sequence[str]
    values: Tensor
    error: Tensor


def rows_of(metadata: Metadata, chunk: Chunk, encodings: Sequence[Encoding]) -> pa.Table:
    """Write a row for each image, with a column `raw_I` for each component whose encoding does not fit all of them.

    Raises:
        InputError: contributions that are not finite.
    """
    values, kept = chunk.values.double().cpu().numpy(), PRECISIONS[metadata.precision]
    loss = np.zeros((len(values), len(encodings)), dtype=np.float32)
    columns: dict[str, pa.Array] = {}
    for index, encoding in enumerate(encodings):
        check_finite(values[:, index])
        coded = encoding.code(values[:, index])
        loss[:, index] = coded.loss
        if not encoding.holds(coded, kept):
            columns[f"{RAW}{index}"] = lists(_own(chunk.values[:, index]))
        elif not encoding.fixed:
            columns[component_column(index, encoding.generation)] = lists(coded.stored)
    plain = {
        "id": pa.array([picture.id for picture in chunk.pictures]),
        "path": pa.array(list(chunk.paths)),
        "label": pa.array([picture.label for picture in chunk.pictures], pa.string()),
        "groups": pa.array([groups_json(picture.groups) for picture in chunk.pictures], pa.string()),
        "digest": pa.array(list(chunk.digests)),
        "checksum": pa.array(_checksums(chunk.values)),
        "error": pa.array(chunk.error.double().cpu().numpy()),
        "embedding": lists(chunk.values.double().sum(1).float().cpu().numpy()),
        "loss": lists(loss),
    }
    return in_schema(metadata, encodings, {**plain, **columns})


def in_schema(metadata: Metadata, encodings: Sequence[Encoding], columns: Mapping[str, pa.Array]) -> pa.Table:
    """Columns in the order and with the metadata of the store; those that are raw come last."""
    schema = schema_of(metadata, encodings)
    fields = [schema.field(i) for i, name in enumerate(schema.names) if name in columns]
    raw = [pa.field(name, column.type) for name, column in columns.items() if name.startswith(RAW)]
    whole = pa.schema([*fields, *raw], metadata=schema.metadata)
    return pa.Table.from_arrays([columns[field.name] for field in whole], schema=whole)


def _own(values: Float[Tensor, "n d"]) -> Float[np.ndarray, "n d"]:
    """Contributions in the model's number format, or in float32 where numpy has none of the kind."""
    wide = values.detach().cpu()
    return (wide if wide.dtype in (torch.float32, torch.float64) else wide.float()).numpy()


def _checksums(values: Tensor) -> list[str]:
    """Of each image's contributions, as they were computed."""
    return [hashlib.blake2b(raw_bytes(image), digest_size=16).hexdigest() for image in values]
