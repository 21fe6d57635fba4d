"""From a folder of images to a store of what a model makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitdecomp.component import WHOLE
from vitdecomp.contributions import Contributions
from vitdecomp.decompose import Decomposer
from vitdecomp.engine.units import BY, By
from vitdecomp.errors import InputError, OutputError, SpecError
from vitdecomp.files import sha256
from vitdecomp.images import describe, find_images, open_image
from vitdecomp.manifest import Manifest
from vitdecomp.origin import Origin
from vitdecomp.prepare import Ready, Request, prepare
from vitdecomp.progress import Progress
from vitdecomp.registry import did_you_mean
from vitdecomp.shards import Loading, Split, write_shards
from vitdecomp.store import Store

REPRESENTATION = "representation"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What to extract from which images.

    Attributes:
        images: a folder, searched with the folders in it.
        by: the components: as for `Decomposer`, two of them joined by a comma, or `representation`, which is not
            split at all.
        output, through: as for `Decomposer`.
        shard_size: images in one file.
        limit: take no more images than this.
        names: only these files of the folder, in this order.
    """

    images: Path
    by: str = "head"
    output: str = "embedding"
    through: tuple[str, ...] | None = None
    shard_size: int = 128
    limit: int | None = None
    names: tuple[str, ...] | None = None

    def files(self) -> list[Path]:
        """The images that are meant.

        Raises:
            InputError: there are none.
        """
        if self.names is None:
            return find_images(self.images, self.limit)
        return [self.images / name for name in self.names[: self.limit]]


def extract(
    request: Request,
    job: Extraction,
    out: Path,
    *,
    resume: bool = True,
    loading: Loading | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write the contributions of a folder of images, or what is missing of them.

    Raises:
        OutputError: the output folder cannot be written, or holds something else.
        InputError: no images, or one that cannot be read.
        SpecError: no such model or split.
    """
    parse_by(job.by)
    earlier = Manifest.read(out)
    if earlier is not None and not resume:
        raise OutputError(f"{out} holds an extraction already: leave out --no-resume, or give another folder")
    job.files()  # before a model is loaded for nothing
    ready, loading = prepare(request), loading or Loading()
    split, manifest = _plan(ready, job, loading)
    return write_shards(split, manifest.resumed(earlier), out, ready=ready, loading=loading, progress=progress)


def cached(
    ready: Ready,
    job: Extraction,
    cache: Path,
    *,
    loading: Loading | None = None,
    progress: Progress | None = None,
) -> Store:
    """The same in a folder of a cache, whose name is a checksum of all that decides the result.

    It is that of the weights, the preprocessing, the settings, the images' names and contents, and the version of
    vitdecomp, so that nothing old can be taken for it. What is there already is not computed again.

    Raises:
        OutputError: the cache cannot be written.
        InputError: no images, or one that cannot be read.
        SpecError: no such model or split.
    """
    parse_by(job.by)
    loading = loading or Loading()
    split, manifest = _plan(ready, job, loading)
    out = cache / f"{job.by.replace(',', '-')}-{_key(manifest)}"
    manifest = manifest.resumed(Manifest.read(out))
    write_shards(split, manifest, out, ready=ready, loading=loading, progress=progress)
    return Store(out)


def parse_by(text: str) -> By | None:
    """`"head"`, or `("head", "token")` of `"head,token"`; `None` of `"representation"`.

    Raises:
        SpecError: nothing of the kind.
    """
    known: dict[str, Any] = {key if isinstance(key, str) else ",".join(key): key for key in BY}
    known[REPRESENTATION] = None
    if text not in known:
        raise SpecError(f"cannot split by {text!r}{did_you_mean(text, list(known))}")
    by: By | None = known[text]
    return by


def fitted(dec: Decomposer, batch: Tensor, request: Request) -> Decomposer:
    """Fit, and say how to give the image size of a model that does not tell its own."""
    try:
        return dec.fit(batch)
    except InputError as error:
        if request.image_size is None and getattr(dec.model, "input_size", None) is None:
            raise InputError(f"{error} (--image-size gives the size that the model takes)") from error
        raise


class _Whole:
    """Images to representations, as one component."""

    def __init__(self, ready: Ready, output: str) -> None:
        self.origin = Origin.of(ready.loaded.module, ready.loaded.spec, output)
        self.module = ready.loaded.representation(output)

    def __call__(self, images: Tensor) -> Contributions:
        with torch.no_grad():
            vectors = self.module(images)
        if vectors.ndim != 2 or not bool(vectors.isfinite().all()):
            raise InputError(f"{self.origin.model} must return a finite vector per image, not {tuple(vectors.shape)}")
        error = torch.zeros(len(vectors), dtype=torch.float64)
        return Contributions(vectors[:, None], (WHOLE,), error, origin=self.origin)


def _plan(ready: Ready, job: Extraction, loading: Loading) -> tuple[Split, Manifest]:
    """What a model does to images, and what is to be written."""
    files = job.files()
    root = job.images if job.images.is_dir() else job.images.parent
    split, first = _split(ready, job, _first_readable(files, loading))
    origin = Origin.of(ready.loaded.module, ready.loaded.spec, job.output) if first.origin is None else first.origin
    manifest = Manifest(
        model=origin.model,
        weights=origin.weights,
        preprocessing=describe(ready.preprocess),
        output=job.output,
        by=job.by,
        through=job.through,
        dtype=str(first.values.dtype).removeprefix("torch."),
        dimension=first.dimension,
        components=first.components,
        root=str(root.absolute()),
        images=tuple(file.relative_to(root).as_posix() for file in files),
        digests=_digests(files),
        shard_size=job.shard_size,
    )
    return split, manifest


def _split(ready: Ready, job: Extraction, image: Any) -> tuple[Split, Contributions]:
    """What takes images apart, and what it gives for one of them."""
    by, batch = parse_by(job.by), ready.batch([image])
    if by is None:
        whole = _Whole(ready, job.output)
        return whole, whole(batch)
    dec = fitted(
        Decomposer(ready.loaded, by=by, output=job.output, through=job.through or "auto"), batch, ready.request
    )
    return dec.transform, dec.transform(batch)


def _first_readable(files: Sequence[Path], loading: Loading) -> Any:
    for file in files:
        try:
            return open_image(file)
        except InputError:
            if not loading.skip_unreadable:
                raise
    raise InputError(f"none of {len(files)} images can be read")


def _digests(files: Sequence[Path]) -> tuple[str, ...]:
    """Checksums of files, many at a time: the work is done outside the interpreter's lock."""
    try:
        with ThreadPoolExecutor() as pool:
            return tuple(pool.map(sha256, files))
    except OSError as error:
        raise InputError(f"cannot read image {error.filename}: {error.strerror}") from error


def _key(manifest: Manifest) -> str:
    settled = f"{version('vitdecomp')} {manifest.settled()}"
    return hashlib.sha256(settled.encode()).hexdigest()[:32]
