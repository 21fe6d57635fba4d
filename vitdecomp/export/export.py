"""From a store to one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from vitdecomp._utils.files import check_file
from vitdecomp._utils.progress import Progress
from vitdecomp.component import matching
from vitdecomp.errors import InputError, SpecError
from vitdecomp.export.arrays import write_arrays
from vitdecomp.export.columns import image_columns
from vitdecomp.export.selection import Selected, select
from vitdecomp.store.store import Store
from vitdecomp.tables.files import FORMATS, write_tables
from vitdecomp.tables.layouts import layout as layout_named
from vitdecomp.tables.quantities import SIZES, VECTOR, check_quantities

ARRAYS = ".npz"
SUFFIXES = (*FORMATS, ARRAYS)


@dataclass(frozen=True, slots=True)
class Exported:
    """Describe what was written.

    Attributes:
        path: the file. rows: of the table, or of the arrays. images, components: how many.
        quantities: of each contribution. bytes: size of the file.
    """

    path: Path
    rows: int
    images: int
    components: int
    quantities: tuple[str, ...]
    bytes: int


def export(
    store: Store,
    path: Path | str,
    *,
    layout: str = "long",
    quantities: Sequence[str] = (),
    components: Sequence[str] = ("*",),
    embedding: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a store as one file that other tools open, in memory that does not grow with the number of images.

    Args:
        store: contributions.
        path: `.parquet`, `.arrow`, `.feather` or `.csv` for a table, `.npz` for arrays.
        layout: of a table, `long` or `wide`; see `Contributions.to_dataframe`.
        quantities: `norm`, `share` or `vector` of each contribution; default: `norm` and `share` in a table, `vector`
            in arrays. A share is that of the sum over the components that are exported.
        components: names and patterns; the others are left out.
        embedding: the representation of each image too, `(d,)`; it is too much for each row of a long table.
        limit: take no more images than this.
        progress: called with the images done and their number.

    Raises:
        SpecError: an unknown suffix, layout, quantity or component, or vectors where a format has none.
        InputError: the store has no images. DamageError: it is damaged.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise SpecError(f"cannot tell the format of {path} by its suffix: give {', '.join(SUFFIXES)}")
    check_file(path)
    if not len(store):
        raise InputError(f"there are no images in {store.uri}: add some with `vitdecomp extract`")
    arrays = path.suffix.lower() == ARRAYS
    told = check_quantities(quantities or ((VECTOR,) if arrays else SIZES))
    selected = select(store, matching(store.components, components), limit, progress)
    if arrays:
        rows = write_arrays(path, selected, told, embedding=embedding)
    else:
        rows = write_tables(path, _tables(selected, layout, told, embedding=embedding))
    return Exported(path, rows, selected.images, len(selected.components), told, path.stat().st_size)


def _tables(selected: Selected, layout: str, quantities: Sequence[str], *, embedding: bool) -> Iterator[pa.Table]:
    lay_out = layout_named(layout)
    if embedding and layout == "long":
        raise SpecError("a long table would repeat the embedding in the row of each component: give the layout wide")
    for rows, values in selected.values():
        images = image_columns(selected.store, rows, embedding=embedding)
        yield lay_out(values, selected.components, images, quantities)
