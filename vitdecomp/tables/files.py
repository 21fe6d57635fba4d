"""Arrow tables in files, written a part at a time; the suffix says the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from vitdecomp._utils.files import atomic, check_file
from vitdecomp.errors import SpecError

GROUP = 2**25  # bytes that are written together: a file of many small groups is slow to open, and so is its index


@dataclass(frozen=True, slots=True)
class TableFormat:
    """Say how tables are written.

    Attributes:
        open: makes a writer from the name of a file and a schema. lists: whether a cell may hold several numbers.
    """

    open: Callable[[str, pa.Schema], Any]
    lists: bool = True


FORMATS: Mapping[str, TableFormat] = {
    ".parquet": TableFormat(parquet.ParquetWriter),
    ".arrow": TableFormat(ipc.new_file),
    ".feather": TableFormat(ipc.new_file),
    ".csv": TableFormat(csv.CSVWriter, lists=False),
}


def table_format(path: Path) -> TableFormat:
    """Choose the format by the suffix, and check that a file can be written there; nothing is created.

    Raises:
        SpecError: no format has this suffix.
        OutputError: no file can be written there.
    """
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise SpecError(f"cannot tell the format of {path} by its suffix: give {', '.join(FORMATS)}")
    check_file(path)
    return found


def write_tables(path: Path, parts: Iterable[pa.Table]) -> int:
    """Write tables of one schema, one after another, as one file: whole, or not at all.

    Args:
        path: the file.
        parts: one table or more; little more than `GROUP` bytes of them are held.

    Returns:
        How many rows there are.

    Raises:
        SpecError: no format has this suffix, or it cannot hold lists.
        OutputError: the file cannot be written.
    """
    form, groups, rows = table_format(path), _groups(parts), 0
    first = next(groups)
    several = [field.name for field in first.schema if pa.types.is_fixed_size_list(field.type)]
    if several and not form.lists:
        able = [suffix for suffix, other in FORMATS.items() if other.lists]
        raise SpecError(f"a cell of {path} cannot hold vectors ({several[0]}): give {', '.join(able)} or .npz")
    with atomic(path) as partial, form.open(str(partial), first.schema) as writer:
        for group in chain([first], groups):
            if len(group):
                writer.write(group)
            rows += len(group)
    return rows


def _groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables, the small ones of them joined."""
    held: list[pa.Table] = []
    for part in parts:
        held.append(part)
        if sum(table.nbytes for table in held) >= GROUP:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Join tables; pyarrow 21 writes the header of a CSV once more for each empty chunk."""
    return pa.concat_tables([table for table in tables if len(table)] or tables[:1])
