"""Arrow tables as data frames of other libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import pyarrow as pa

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError

FRAMES: Mapping[str, Callable[[Any, pa.Table], Any]] = {
    "pandas": lambda pandas, table: table.to_pandas(),
    "polars": lambda polars, table: polars.from_arrow(table),
    "pyarrow": lambda pyarrow, table: table,
}


def to_frame(table: pa.Table, library: str) -> Any:
    """Give a table to another library.

    Args:
        table: columns of numbers, texts and lists.
        library: `pandas`, `polars` or `pyarrow`.

    Raises:
        SpecError: an unknown library, or one that is not installed.
    """
    if library not in FRAMES:
        raise SpecError(f"no data frames of {library!r}{did_you_mean(library, FRAMES)}; choose of {', '.join(FRAMES)}")
    try:
        module = import_module(library)
    except ImportError as error:
        raise SpecError(f"data frames of {library} need it: pip install {library}") from error
    return FRAMES[library](module, table)
