"""What `vitdecomp extract` tells: its result in plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitdecomp.extract import ExtractResult


def summary(out: Path | str, done: ExtractResult) -> dict[str, Any]:
    """What an extraction did, in plain values.

    Args:
        out: where the store is.
        done: as `vitdecomp.extract.extract` returns it.
    """
    store = done.store
    return {
        "out": str(out),
        "model": store.origin.model,
        "images": len(store),
        "added": done.added,
        "skipped": list(done.skipped),
        "components": len(store.components),
        "dimension": store.dimension,
        "dtype": store.metadata.dtype,
        "precision": store.metadata.precision,
        "bytes_per_image": store.bytes_per_image,
        "error": float(store.error().max()),
        "loss": max(store.losses().values()),
    }
