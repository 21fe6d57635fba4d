"""A store as arrays in an .npz file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vitdecomp.export.columns import EMBEDDING
from vitdecomp.export.selection import Selected
from vitdecomp.tables.columns import component_columns
from vitdecomp.tables.npz import ArrayParts, write_npz
from vitdecomp.tables.quantities import QUANTITIES, VECTOR

Texts = Callable[[range], Sequence[str]]


def write_arrays(path: Path, selected: Selected, quantities: Sequence[str], *, embedding: bool) -> int:
    """Write an array for each quantity, and what is known of images and components; the store is read once for each.

    `vector` is `(n, component, d)`, other quantities `(n, component)`. `id`, `path`, `label` and `error` have a row for
    each image; `component`, `kind`, `block`, `module`, `head`, `token` and `neuron` one for each component. A text that
    is not known is empty, and an index -1.

    Returns:
        How many images there are.

    Raises:
        OutputError: the file cannot be written.
    """
    store, n = selected.store, selected.images
    texts: dict[str, Texts] = {
        "id": lambda rows: [name for name, _ in store.names(rows)],
        "path": lambda rows: [str(place) for _, place in store.names(rows)],
        "label": lambda rows: [label or "" for label in store.labels_of(rows)],
    }
    arrays = {name: _measured(selected, name) for name in quantities}
    if embedding:
        parts = (store.embedding(rows).numpy() for rows in selected.rows())
        arrays[EMBEDDING] = ArrayParts((n, store.dimension), np.dtype(np.float32), parts)
    arrays |= {name: _texts(selected, of) for name, of in texts.items()}
    arrays["error"] = ArrayParts((n,), np.dtype(np.float64), (store.error(rows).numpy() for rows in selected.rows()))
    write_npz(path, {**arrays, **dict(_components(selected))})
    return n


def _measured(selected: Selected, name: str) -> ArrayParts:
    wide = name != VECTOR or selected.store.metadata.dtype == "float64"
    last = (selected.store.dimension,) if name == VECTOR else ()
    parts = (QUANTITIES[name](values).numpy() for _, values in selected.values())
    return ArrayParts(
        (selected.images, len(selected.components), *last), np.dtype(np.float64 if wide else np.float32), parts
    )


def _texts(selected: Selected, of: Texts) -> ArrayParts:
    """Texts have as many characters as the longest one, which is looked for first."""
    longest = max((len(text) for rows in selected.rows() for text in of(rows)), default=0)
    kind = np.dtype(f"<U{max(longest, 1)}")
    return ArrayParts((selected.images,), kind, (np.array(of(rows), dtype=kind) for rows in selected.rows()))


def _components(selected: Selected) -> Iterator[tuple[str, ArrayParts]]:
    for name, column in component_columns(selected.components).items():
        known = column.fill_null("" if column.type == "string" else -1)
        yield name, ArrayParts.of(np.array(known.to_pylist()))
