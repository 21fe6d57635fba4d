"""Pictures of a data set, read and preprocessed ahead of the model.

Threads read them, since decoding and resizing leave the interpreter's lock, and since a process that writes with Lance
must not fork.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp.datasets.image import Pictures
from vitdecomp.errors import InputError
from vitdecomp.images.decoding import decode
from vitdecomp.images.image_list import spelled
from vitdecomp.models.preprocessing import Preprocess, as_tensor

A = TypeVar("A")
B = TypeVar("B")
AHEAD = 2  # batches that may wait for the model


@dataclass(frozen=True, slots=True)
class Loading:
    """How images are read.

    Attributes:
        batch_size: images that are decomposed together.
        workers: threads that read images; 0 reads them in the main one.
        skip_unreadable: leave out what cannot be read, and say so, instead of stopping.
    """

    batch_size: int = 32
    workers: int = 0
    skip_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """A picture that was read.

    Attributes:
        index: its place in the data set.
        digest: SHA-256 of its file, in hexadecimal.
        pixels: the preprocessed image, or the reason why there is none.
    """

    index: int
    digest: str
    pixels: Tensor | str


def load(pictures: Pictures, index: int, preprocess: Preprocess) -> Loaded:
    """Return one picture."""
    try:
        data = _read(pictures, index)
        image = decode(data, name(pictures, index))
    except InputError as error:
        return Loaded(index, "", str(error))
    return Loaded(index, digest([data]), as_tensor(preprocess, image))


def load_all(pictures: Pictures, indices: Iterable[int], preprocess: Preprocess, loading: Loading) -> Iterator[Loaded]:
    """Pictures in the order asked for."""
    return ahead(lambda i: load(pictures, i, preprocess), indices, loading)


def digests(pictures: Pictures, indices: Sequence[int], *, workers: int = 4) -> tuple[str, ...]:
    """SHA-256 of the files of pictures, in hexadecimal; empty for those that cannot be read."""
    loading = Loading(batch_size=64, workers=workers)
    return tuple(ahead(lambda i: _digest(pictures, i), indices, loading))


def name(pictures: Pictures, index: int) -> str:
    """Return where a picture is, for people."""
    return spelled(str(pictures.root / pictures.pictures[index].id))


def ahead(function: Callable[[A], B], items: Iterable[A], loading: Loading) -> Iterator[B]:
    """Apply a function to items, in their order, a little ahead of its reader."""
    if loading.workers == 0:
        yield from map(function, items)
        return
    waiting: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(loading.workers)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > AHEAD * loading.batch_size:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _digest(pictures: Pictures, index: int) -> str:
    try:
        return digest([_read(pictures, index)])
    except InputError:
        return ""


def _read(pictures: Pictures, index: int) -> bytes:
    try:
        return pictures.read(index)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot read image {name(pictures, index)}: {reason}") from error
