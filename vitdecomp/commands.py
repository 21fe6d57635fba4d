"""What the verbs of the command line do, apart from reading flags and printing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitdecomp.adapter import adapters
from vitdecomp.decompose import Decomposer
from vitdecomp.engine.units import BY, By
from vitdecomp.errors import InputError, OutputError, SpecError
from vitdecomp.extract import Loading, Progress
from vitdecomp.extract import extract as write_shards
from vitdecomp.graph_file import check_graph_file, write_graph
from vitdecomp.images import describe, find_images, open_image
from vitdecomp.manifest import Manifest, weights_checksum
from vitdecomp.prepare import Request, prepare
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
    dec = _fit(Decomposer(ready.loaded, output=output, through=through or "auto"), batch, request)
    if graph is not None:
        write_graph(dec.report_.graph, graph)
    return dec.report_, source


@dataclass(frozen=True, slots=True)
class Extraction:
    """What to extract: `images` to `out`; `by`, `output`, `through` as for `Decomposer`."""

    images: Path
    out: Path
    by: str = "head"
    output: str = "embedding"
    through: list[str] | None = None
    shard_size: int = 128
    limit: int | None = None
    resume: bool = True


def extract(request: Request, job: Extraction, loading: Loading, progress: Progress | None = None) -> dict[str, Any]:
    """Write the contributions of a folder of images, or what is missing of them.

    Returns:
        A summary in plain values.

    Raises:
        OutputError: the output folder cannot be written, or holds something else.
        InputError: no images, or one that cannot be read.
    """
    by = parse_by(job.by)
    earlier = Manifest.read(job.out)
    if earlier is not None and not job.resume:
        raise OutputError(f"{job.out} holds an extraction already: leave out --no-resume, or give another folder")
    files = find_images(job.images, job.limit)
    root = job.images if job.images.is_dir() else job.images.parent
    ready = prepare(request)
    dec = Decomposer(ready.loaded, by=by, output=job.output, through=job.through or "auto")
    _fit(dec, ready.batch([_first_readable(files, loading)]), request)
    manifest = Manifest(
        model=ready.loaded.spec,
        weights=weights_checksum(ready.loaded.module),
        preprocessing=describe(ready.preprocess),
        output=job.output,
        by=job.by,
        through=tuple(job.through) if job.through else None,
        dtype=dec.report_.dtype,
        dimension=dec.report_.dimension,
        components=dec.components_,
        root=str(root.absolute()),
        images=tuple(file.relative_to(root).as_posix() for file in files),
        image_bytes=tuple(file.stat().st_size for file in files),
        shard_size=job.shard_size,
    ).resumed(earlier)
    done = write_shards(dec, manifest, job.out, ready=ready, loading=loading, progress=progress)
    return _summary(done, job.out)


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


def parse_by(text: str) -> By:
    """`"head"`, or `("head", "token")` of `"head,token"`."""
    known: dict[str, Any] = {key if isinstance(key, str) else ",".join(key): key for key in BY}
    if text not in known:
        raise SpecError(f"cannot split by {text!r}{did_you_mean(text, list(known))}")
    by: By = known[text]
    return by


def _fit(dec: Decomposer, batch: Any, request: Request) -> Decomposer:
    """Fit, and say how to give the image size of a model that does not tell its own."""
    try:
        return dec.fit(batch)
    except InputError as error:
        if request.image_size is None and getattr(dec.model, "input_size", None) is None:
            raise InputError(f"{error} (--image-size gives the size that the model takes)") from error
        raise


def _first_readable(files: list[Path], loading: Loading) -> Any:
    for file in files:
        try:
            return open_image(file)
        except InputError:
            if not loading.skip_unreadable:
                raise
    raise InputError(f"none of {len(files)} images can be read")


def _summary(manifest: Manifest, out: Path) -> dict[str, Any]:
    return {
        "out": str(out),
        "model": manifest.model,
        "images": sum(shard.rows for shard in manifest.done),
        "skipped": [manifest.images[row] for shard in manifest.done for row in shard.skipped],
        "components": len(manifest.components),
        "dimension": manifest.dimension,
        "dtype": manifest.dtype,
        "shards": len(manifest.done),
        "error": max(shard.error for shard in manifest.done),
    }
