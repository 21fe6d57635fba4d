"""From a data set of pictures to a store of what a model makes of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitdecomp.columns import BASES, IMAGES
from vitdecomp.component import WHOLE
from vitdecomp.contributions import Contributions
from vitdecomp.datasets import Pictures, open_pictures
from vitdecomp.decompose import Decomposer
from vitdecomp.encoding import PRECISIONS
from vitdecomp.engine.units import BY, By
from vitdecomp.errors import InputError, OutputError, SpecError
from vitdecomp.header import Header, check_precision
from vitdecomp.images import describe
from vitdecomp.loading import Loaded, Loading, digests, load, load_all, name
from vitdecomp.lock import locked
from vitdecomp.origin import Origin
from vitdecomp.prepare import Ready, Request, fitted, prepare
from vitdecomp.progress import Progress
from vitdecomp.registry import did_you_mean
from vitdecomp.store import Store
from vitdecomp.writer import Chunk, StoreWriter

REPRESENTATION = "representation"
Split = Callable[[Tensor], Contributions]


@dataclass(frozen=True, slots=True)
class Extraction:
    """What to extract from which images.

    Attributes:
        images: a data set of pictures, or where it is: see `vitdecomp.datasets`.
        by: the components: as for `Decomposer`, two of them joined by a comma, or `representation`, which is not
            split at all.
        output, through: as for `Decomposer`.
        chunk_size: images that are written together.
        limit: take no more images than this.
        precision: of what is written, a key of `vitdecomp.encoding.PRECISIONS`.
    """

    images: Path | Pictures
    by: str = "head"
    output: str = "embedding"
    through: tuple[str, ...] | None = None
    chunk_size: int = 256
    limit: int | None = None
    precision: str = "float16"


@dataclass(frozen=True, slots=True)
class Extracted:
    """A store, and what an extraction did to it.

    Attributes:
        store: all of it.
        added: images that were added.
        skipped: ids of images that could not be read.
    """

    store: Store
    added: int
    skipped: tuple[str, ...]


def extract(
    request: Request,
    job: Extraction,
    out: Path | str,
    *,
    resume: bool = True,
    loading: Loading | None = None,
    progress: Progress | None = None,
) -> Extracted:
    """Write the contributions of a data set of pictures, or of those that are not there yet.

    Raises:
        OutputError: the place cannot be written, or holds something else.
        InputError: no images, or one that cannot be read.
        SpecError: no such model, split or precision.
    """
    parse_by(job.by)
    check_precision(job.precision)
    pictures = open_pictures(job.images)  # before a model is loaded for nothing
    if StoreWriter(str(out)).header is not None and not resume:
        raise OutputError(f"{out} holds an extraction already: leave out --no-resume, or give another place")
    run = _Run(prepare(request), job, pictures, loading or Loading(), progress)
    with locked(str(out)):
        return run.into(str(out))


def cached(
    ready: Ready,
    job: Extraction,
    cache: Path,
    *,
    loading: Loading | None = None,
    progress: Progress | None = None,
) -> Store:
    """The same in a folder of a cache, whose name is a checksum of all that decides the result.

    It is that of the weights, the preprocessing, the settings, the images' names, labels and contents, and the version
    of vitdecomp, so that nothing old can be taken for it. What is there already is not computed again, and what is
    damaged is. The precision is that of the model, float32 at least, whatever the job says.

    Raises:
        OutputError: the cache cannot be written.
        InputError: no images, or one that cannot be read.
        SpecError: no such model or split.
    """
    parse_by(job.by)
    run = _Run(ready, job, open_pictures(job.images), loading or Loading(), progress)
    own = run.header.dtype
    run.header = replace(run.header, precision=own if own in PRECISIONS and own != "float16" else "float32")
    out = cache / f"{job.by.replace(',', '-')}-{run.key()}"
    with locked(str(out), wait=True):
        try:
            return run.into(str(out)).store
        except OutputError:
            for part in (IMAGES, BASES):
                shutil.rmtree(out / part, ignore_errors=True)
            return run.into(str(out)).store


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


class _Run:
    """One extraction: a model, what it does to images, and the images."""

    def __init__(
        self, ready: Ready, job: Extraction, pictures: Pictures, loading: Loading, progress: Progress | None
    ) -> None:
        self.ready, self.job, self.pictures, self.loading, self.progress = ready, job, pictures, loading, progress
        self.wanted = range(len(pictures.pictures[: job.limit]))
        self.split, first = _split(ready, job, self._first_readable())
        self._digests: dict[int, str] = {}
        self.header = _header(ready, job, first)

    def key(self) -> str:
        """A checksum of all that decides the result."""
        known = (self.pictures.pictures[i] for i in self.wanted)
        names = [(picture.id, picture.label, sorted(picture.groups.items())) for picture in known]
        self._digests = dict(zip(self.wanted, digests(self.pictures, self.wanted), strict=True))
        told = [version("vitdecomp"), self.header.to_json(), names, list(self._digests.values())]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    def into(self, uri: str) -> Extracted:
        """Write what is missing in a store, which must be locked."""
        writer = StoreWriter(uri)
        if writer.header is not None:
            self.header.check(writer.header, uri)
        known, before = writer.known(), len(writer)
        self._check_known(writer, known)
        skipped: list[str] = []
        for chunk in self._chunks(known, writer.before):
            skipped += self._write(writer, chunk)
            if self.progress is not None:
                self.progress(chunk[-1] + 1, len(self.wanted))
        if writer.header is None:
            raise InputError(f"none of {len(self.wanted)} images can be read")
        writer.finish()
        return Extracted(Store(uri), len(writer) - before, tuple(skipped))

    def _chunks(self, known: dict[str, tuple[str, str]], before: int) -> Iterator[list[int]]:
        """Images that are not there yet, cut where a run that nobody interrupts cuts them."""
        ids, old = self.pictures.pictures, set(islice(known, before))
        plan = [i for i in self.wanted if ids[i].id not in old]
        for start in range(0, len(plan), self.job.chunk_size):
            missing = [i for i in plan[start : start + self.job.chunk_size] if ids[i].id not in known]
            if missing:
                yield missing

    def _write(self, writer: StoreWriter, indices: list[int]) -> list[str]:
        """Write some images together; the ids of those that could not be read."""
        read: list[Loaded] = []
        parts: list[Contributions] = []
        skipped: list[str] = []
        loaded = load_all(self.pictures, indices, self.ready.preprocess, self.loading)
        while batch := list(islice(loaded, self.loading.batch_size)):
            good = [one for one in batch if isinstance(one.pixels, Tensor)]
            skipped += self._refuse_unreadable(batch)
            if good:
                pixels = torch.stack([one.pixels for one in good if isinstance(one.pixels, Tensor)])
                parts.append(self.split(pixels.to(self.ready.device, self.ready.dtype)))
                read += [replace(one, pixels="") for one in good]
        if read:
            writer.write(self.header, self._chunk(read, parts))
        return skipped

    def _chunk(self, read: Sequence[Loaded], parts: Sequence[Contributions]) -> Chunk:
        return Chunk(
            pictures=[self.pictures.pictures[one.index] for one in read],
            paths=[name(self.pictures, one.index) for one in read],
            digests=[one.digest for one in read],
            values=torch.cat([part.values.cpu() for part in parts]),
            error=torch.cat([part.error.cpu() for part in parts]),
        )

    def _refuse_unreadable(self, batch: Sequence[Loaded]) -> list[str]:
        bad = [one for one in batch if isinstance(one.pixels, str)]
        if bad and not self.loading.skip_unreadable:
            raise InputError(f"{bad[0].pixels} (--skip-unreadable leaves such files out)")
        return [self.pictures.pictures[one.index].id for one in bad]

    def _first_readable(self) -> Any:
        why = ""
        for index in self.wanted:
            found = load(self.pictures, index, self.ready.preprocess)
            if isinstance(found.pixels, Tensor):
                return found.pixels
            self._refuse_unreadable([found])
            why = why or found.pixels
        raise InputError(f"none of {len(self.wanted)} images can be read; the first: {why}")

    def _check_known(self, writer: StoreWriter, known: dict[str, tuple[str, str]]) -> None:
        """Refuse another picture under a name that is there already, and note where the pictures are now."""
        ids = self.pictures.pictures
        there = [i for i in self.wanted if ids[i].id in known]
        found = self._digests or dict(zip(there, digests(self.pictures, there), strict=True))
        for index in there:
            if found[index] not in ("", known[ids[index].id][0]):  # one that is gone has been seen
                raise OutputError(
                    f"{writer.uri} holds another picture as {ids[index].id} than {name(self.pictures, index)}: "
                    "use another store"
                )
        for index in there[:1]:
            path, end = known[ids[index].id][1], f"/{ids[index].id}"
            if path.endswith(end):  # not one that a table names by its absolute path
                writer.moved(path.removesuffix(end), str(self.pictures.root))


def _header(ready: Ready, job: Extraction, first: Contributions) -> Header:
    """What is to be written, as far as one image tells."""
    origin = Origin.of(ready.loaded.module, ready.loaded.spec, job.output) if first.origin is None else first.origin
    return Header(
        model=origin.model,
        weights=origin.weights,
        preprocessing=describe(ready.preprocess),
        output=job.output,
        by=job.by,
        through=job.through,
        dtype=str(first.values.dtype).removeprefix("torch."),
        precision=job.precision,
        dimension=first.dimension,
        components=first.components,
    )


def _split(ready: Ready, job: Extraction, pixels: Tensor) -> tuple[Split, Contributions]:
    """What takes images apart, and what it gives for one of them."""
    by, batch = parse_by(job.by), pixels[None].to(ready.device, ready.dtype)
    if by is None:
        whole = _Whole(ready, job.output)
        return whole, whole(batch)
    dec = fitted(
        Decomposer(ready.loaded, by=by, output=job.output, through=job.through or "auto"), batch, ready.request
    )
    return dec.transform, dec.transform(batch)
