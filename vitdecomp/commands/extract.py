"""What `vitdecomp extract` does: the contributions of a data set of pictures, written to a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitdecomp.extract import Extraction, extract
from vitdecomp.loading import Loading
from vitdecomp.prepare import Request
from vitdecomp.progress import Progress


def write_store(
    request: Request,
    job: Extraction,
    out: Path | str,
    *,
    resume: bool = True,
    loading: Loading | None = None,
    progress: Progress | None = None,
    engine: str = "local",
    address: str | None = None,
) -> dict[str, Any]:
    """Write the contributions of a data set of pictures, or of those that are not there yet.

    Returns:
        A summary in plain values.

    Raises:
        OutputError: the place cannot be written, or holds something else.
        InputError: no images, or one that cannot be read.
    """
    done = extract(request, job, out, resume=resume, loading=loading, progress=progress, engine=engine, address=address)
    store = done.store
    return {
        "out": str(out),
        "model": store.origin.model,
        "images": len(store),
        "added": done.added,
        "skipped": list(done.skipped),
        "components": len(store.components),
        "dimension": store.dimension,
        "dtype": store.header.dtype,
        "precision": store.header.precision,
        "bytes_per_image": store.bytes_per_image,
        "error": float(store.error().max()),
        "loss": max(store.losses().values()),
    }
