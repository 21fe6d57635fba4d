"""Columns of Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from vitdecomp.component import Component

INTEGERS = ("head", "token", "neuron")  # fields of a component; all others are text


def lists(rows: Float[np.ndarray, "n r"]) -> pa.Array:
    """Rows of an array as a column."""
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def component_columns(components: Sequence[Component]) -> dict[str, pa.Array]:
    """Return a column for each field of a component's key: `component` for its name, `kind`, `block` ... ."""
    return {
        "component" if key.name == "name" else key.name: pa.array(
            [getattr(component, key.name) for component in components],
            type=pa.int64() if key.name in INTEGERS else pa.string(),
        )
        for key in fields(Component)
    }
