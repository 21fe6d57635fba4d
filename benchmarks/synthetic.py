"""Stores of made-up coefficients, as large as wanted and with the columns that `vitdecomp extract` writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vitdecomp import Component
from vitdecomp.store.encoding import Encoding
from vitdecomp.store.lance import FRAGMENT, Table
from vitdecomp.store.metadata import Metadata
from vitdecomp.store.schema import BASES, COMPONENT, IMAGES, bases_table, schema_of
from vitdecomp.tables.columns import lists

HEADS = 12  # of a layer
Draw = Callable[[int, range, int], np.ndarray]
"""A component's number, rows, and how many coefficients each has, to these coefficients `(n, r)`."""


@dataclass(frozen=True)
class Sizes:
    """So many components, each of so many dimensions of the representation's, and some more that fill all of them."""

    components: int
    rank: int
    dimension: int
    full: int = 0

    @property
    def metadata(self) -> Metadata:
        heads = (Component(f"blocks.{i // HEADS}.attn.head.{i % HEADS}", "attn") for i in range(self.components))
        full = (Component(f"blocks.{i}.mlp", "mlp") for i in range(self.full))
        settings = ("embedding", "head", None, "float32", "float16", self.dimension)
        return Metadata("random:store", "0", "none", *settings, (*heads, *full))


def noise(index: int, rows: range, rank: int) -> np.ndarray:
    """Random numbers, the same whenever they are asked for."""
    return np.random.default_rng([2, index, rows.start]).standard_normal((len(rows), rank), dtype=np.float32)


def write(place: str, n: int, sizes: Sizes, draw: Draw = noise) -> None:
    """Write a store whose components have random bases, a file of many rows at a time."""
    metadata, rng = sizes.metadata, np.random.default_rng(0)
    drawn = (rng.standard_normal((sizes.dimension, sizes.rank)) for _ in range(sizes.components))
    encodings = [Encoding(sizes.dimension, np.linalg.qr(x)[0].astype(np.float32), "float16") for x in drawn]
    encodings += [Encoding(sizes.dimension, None, "float16")] * sizes.full
    Table(f"{place}/{BASES}").replace(bases_table(metadata, dict(enumerate(encodings)), "float32"))
    images, schema = Table(f"{place}/{IMAGES}"), schema_of(metadata, encodings)
    for start in range(0, n, FRAGMENT):
        rows = range(start, min(start + FRAGMENT, n))
        table = pa.Table.from_arrays([_column(field, rows, draw) for field in schema], schema=schema)
        images.append(table) if start else images.replace(table)
    images.set(complete="true")


def _column(field: pa.Field, rows: range, draw: Draw) -> pa.Array:
    if not pa.types.is_fixed_size_list(field.type):
        constant = {"error": 0.0, "label": None, "groups": None}
        return pa.array([constant.get(field.name, f"{row}.png") for row in rows], field.type)
    component, width = COMPONENT.fullmatch(field.name), field.type.list_size
    numbers = draw(int(component[1]), rows, width) if component else np.zeros((len(rows), width), np.float32)
    return lists(numbers.astype(field.type.value_type.to_pandas_dtype()))
