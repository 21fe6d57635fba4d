"""What the verbs of the command line do, apart from reading flags and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vitdecomp.adapter import adapters
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError
from vitdecomp.extract import Extraction, fitted
from vitdecomp.extract import extract as write_contributions
from vitdecomp.graph_file import check_graph_file, write_graph
from vitdecomp.loading import Loading
from vitdecomp.prepare import Request, prepare
from vitdecomp.progress import Progress
from vitdecomp.registry import did_you_mean
from vitdecomp.report import Report
from vitdecomp.scenes import SceneDataset


def list_models(pattern: str = "*") -> list[str]:
    """Specs of all models that match a pattern; one without wildcards matches any part of a name.

    Raises:
        SpecError: there are none.
    """
    prefix, colon, name = pattern.partition(":")
    known = adapters()
    chosen = [known[prefix]] if colon else list(known.values())
    name = name if colon else pattern
    wild = name if any(mark in name for mark in "*?[") else f"*{name}*"
    specs = [f"{adapter.prefix}:{found}" for adapter in chosen for found in adapter.names(wild)]
    if not specs:
        everything = [found for adapter in chosen for found in adapter.names()]
        raise SpecError(f"no model matches {pattern!r}{did_you_mean(name.strip('*'), everything)}")
    return specs


def inspect(
    request: Request,
    *,
    images: Path | None = None,
    limit: int = 4,
    output: str = "embedding",
    through: list[str] | None = None,
    graph: Path | None = None,
) -> tuple[Report, str]:
    """Decompose a model on a few images.

    Returns:
        The report, and which images it was made with.
    """
    if graph is not None:
        check_graph_file(graph)
    ready = prepare(request)
    batch, source = ready.example(images, limit)
    dec = fitted(Decomposer(ready.loaded, output=output, through=through or "auto"), batch, request)
    if graph is not None:
        write_graph(dec.report_.graph, graph)
    return dec.report_, source


def extract(
    request: Request,
    job: Extraction,
    out: Path | str,
    *,
    resume: bool = True,
    loading: Loading | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the contributions of a data set of pictures, or of those that are not there yet.

    Returns:
        A summary in plain values.

    Raises:
        OutputError: the place cannot be written, or holds something else.
        InputError: no images, or one that cannot be read.
    """
    done = write_contributions(request, job, out, resume=resume, loading=loading, progress=progress)
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


def write_scenes(
    out: Path,
    *,
    n: int,
    seed: int,
    split: str,
    subset: str,
    word_probability: float,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write small labelled pictures.

    Returns:
        A summary in plain values.

    Raises:
        SpecError: no such split or subset, or no probability.
        OutputError: the folder holds something, or cannot be written.
    """
    data = SceneDataset(n, seed, split, subset, word_probability=word_probability)
    data.write(out, progress)
    counts = np.bincount(data.labels["target"], minlength=len(data.classes)).tolist()
    return {
        "out": str(out),
        "pictures": n,
        "seed": seed,
        "split": split,
        "subset": subset,
        "classes": dict(zip(data.classes, counts, strict=True)),
    }
