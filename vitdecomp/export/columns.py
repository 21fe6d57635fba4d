"""What a store says of its images, as columns of a table."""

from __future__ import annotations

import pyarrow as pa

from vitdecomp.store.store import Store
from vitdecomp.tables.columns import lists

EMBEDDING = "embedding"


def image_columns(store: Store, rows: range, *, embedding: bool) -> pa.Table:
    """Return a row for each of some consecutive images.

    Columns: `image` (its place in the store), `id`, `path`, `label`, `error` as computed, and if asked for `embedding`,
    the representation, `(d,)` float32.
    """
    names = store.names(rows)
    columns = {
        "image": pa.array(rows, type=pa.int64()),
        "id": pa.array([name for name, _ in names], type=pa.string()),
        "path": pa.array([str(path) for _, path in names], type=pa.string()),
        "label": pa.array(store.labels_of(rows), type=pa.string()),
        "error": pa.array(store.error(rows).numpy()),
    }
    return pa.table({**columns, **({EMBEDDING: lists(store.embedding(rows).numpy())} if embedding else {})})
