"""The columns of a store: what stands in a row, and how each component is encoded.

A store is a folder with two Lance data sets: `images.lance` has a row for each image, and `bases.lance` one for each
encoding that a component has or had. The newest encoding whose column `images.lance` has is the one that counts, so
that one commit there changes both. A component that is fixed has no column. While several processes write, there
is `parts` too: see `vitdecomp.store.staging`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from vitdecomp.component import Component
from vitdecomp.errors import DamageError
from vitdecomp.provenance import Origin
from vitdecomp.store.data_files import REMEDY
from vitdecomp.store.encoding import Encoding
from vitdecomp.store.metadata import Metadata

IMAGES, BASES, STAGING = "images.lance", "bases.lance", "parts"
METADATA = b"vitdecomp"  # key of the metadata in the metadata of `images.lance`
VECTORS = re.compile(r"vectors_(\d+)_(\d+)")
COMPONENT = re.compile(r"component_(\d+)_(\d+)")
RAW = "raw_"  # begins the names of columns with contributions that no encoding fits yet; only staged rows have them


def component_column(index: int, generation: int) -> str:
    """Name a component's column: a component's own name has dots, which Lance takes for structs."""
    return f"component_{index}_{generation}"


def vectors_column(index: int, generation: int) -> str:
    """Name the column with another model's vectors."""
    return f"vectors_{index}_{generation}"


def generations(names: Sequence[str], pattern: re.Pattern[str]) -> dict[int, int]:
    """Find the newest generation of every numbered column."""
    found: dict[int, int] = {}
    for match in filter(None, map(pattern.fullmatch, names)):
        index, generation = int(match[1]), int(match[2])
        found[index] = max(generation, found.get(index, -1))
    return found


def list_type(width: int, number: str) -> pa.DataType:
    """So many numbers in every row."""
    return pa.list_(pa.from_numpy_dtype(np.dtype(number)), width)


def numbers(column: pa.Array | pa.ChunkedArray, width: int) -> Float[np.ndarray, "n r"]:
    """Read a column as the rows of an array.

    Raises:
        DamageError: rows have no numbers.
    """
    check_filled(column)
    chunks = getattr(column, "chunks", [column])
    parts = [chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), width) for chunk in chunks]
    if not parts:
        return np.zeros((0, width), dtype=column.type.value_type.to_pandas_dtype())
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def check_filled(column: pa.Array | pa.ChunkedArray) -> None:
    """Raise `DamageError` if something is missing in a column that every row should have."""
    if column.null_count:
        raise DamageError(f"a store is damaged: {column.null_count} rows are incomplete; {REMEDY}")


def joined(column: pa.Array) -> bytes:
    """Words, none of them null, as lines, for a checksum."""
    lines = pc.call_function("binary_join", [pa.ListArray.from_arrays([0, len(column)], column), "\n"])
    words: bytes = lines[0].as_buffer().to_pybytes()
    return words + b"\n"


def shared(column: pa.Array, width: int) -> Float[Tensor, "n r"]:
    """Read a column as the rows of a tensor in the same memory, which must not be written to.

    Raises:
        DamageError: rows have no numbers.
    """
    check_filled(column)
    found: Tensor = from_dlpack(column.flatten())
    return found.reshape(len(column), width)


def component_field(component: Component, index: int, encoding: Encoding) -> pa.Field:
    """Describe the column of a component that is not fixed."""
    name = component_column(index, encoding.generation)
    metadata = {"component": component.name, "scale": repr(encoding.scale)}
    return pa.field(name, list_type(encoding.width, encoding.format), metadata=metadata)


def vectors_field(name: str, index: int, generation: int, width: int, origin: Origin | None) -> pa.Field:
    """Describe the column with another model's vectors."""
    metadata = {"vectors": name, "origin": json.dumps(origin and asdict(origin))}
    return pa.field(vectors_column(index, generation), list_type(width, "float32"), metadata=metadata)


def plain_fields(metadata: Metadata) -> list[pa.Field]:
    """Describe the columns that every store has."""
    return [
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("groups", pa.string()),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("checksum", pa.string(), nullable=False),
        pa.field("error", pa.float64(), nullable=False),
        pa.field("embedding", list_type(metadata.dimension, "float32")),
        pa.field("loss", list_type(len(metadata.components), "float32")),
    ]


def schema_of(metadata: Metadata, encodings: Sequence[Encoding]) -> pa.Schema:
    """Describe every row as it is written."""
    columns = [
        component_field(component, index, encoding)
        for index, (component, encoding) in enumerate(zip(metadata.components, encodings, strict=True))
        if not encoding.fixed
    ]
    return pa.schema([*plain_fields(metadata), *columns], metadata={METADATA: metadata.to_json()})


def bases_table(metadata: Metadata, encodings: Mapping[int, Encoding], number: str) -> pa.Table:
    """Rows of `bases.lance` for the encodings of some components."""
    rows = [
        {
            "component": index,
            "name": metadata.components[index].name,
            "generation": encoding.generation,
            "format": encoding.format,
            "scale": encoding.scale,
            "fixed": encoding.fixed,
            "rank": -1 if encoding.basis is None else encoding.width,
            "basis": None if encoding.basis is None else np.ascontiguousarray(encoding.basis).reshape(-1),
        }
        for index, encoding in encodings.items()
    ]
    schema = pa.schema(
        {
            "component": pa.int32(),
            "name": pa.string(),
            "generation": pa.int32(),
            "format": pa.string(),
            "scale": pa.float64(),
            "fixed": pa.bool_(),
            "rank": pa.int32(),
            "basis": pa.large_list(pa.from_numpy_dtype(np.dtype(number))),
        }
    )
    return pa.Table.from_pylist(rows, schema=schema)


def groups_json(groups: Mapping[str, str]) -> str | None:
    """Write groups as JSON."""
    return json.dumps(dict(groups), ensure_ascii=False) if groups else None
