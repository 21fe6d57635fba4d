"""The two ways to have an extraction: in a place of one's own, or in a cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from vitdecomp._utils.progress import Progress
from vitdecomp.component import Component
from vitdecomp.datasets import open_pictures
from vitdecomp.distributed.process_group import Ranks, ranks
from vitdecomp.errors import DamageError, OutputError
from vitdecomp.extract.config import ExtractConfig, ExtractResult, parse_by
from vitdecomp.extract.engine import engine as engine_of
from vitdecomp.extract.extractor import Extractor
from vitdecomp.extract.local import Local
from vitdecomp.extract.run import Run
from vitdecomp.images.opening import warn_of_skipped
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, PreparedModel, prepare
from vitdecomp.store.encoding import PRECISIONS
from vitdecomp.store.lock import locked
from vitdecomp.store.metadata import check_precision
from vitdecomp.store.schema import BASES, IMAGES
from vitdecomp.store.store import Store
from vitdecomp.store.writer import StoreWriter


def extract(
    options: ModelOptions,
    job: ExtractConfig,
    out: Path | str,
    *,
    resume: bool = True,
    loading: Loading | None = None,
    progress: Progress | None = None,
    engine: str = "local",
    address: str | None = None,
) -> ExtractResult:
    """Write the contributions of a data set of pictures, or of those that are not there yet.

    Under torchrun all processes call it with the same arguments and share the work; each gets the result.

    Args:
        options: the model.
        job: what to extract from which images.
        out: the store.
        resume: go on with what is there.
        loading: how images are read.
        progress: called with the images done and their number, in the first process.
        engine: who does the work: `local`, `ray`, or what a plugin brings.
        address: of a cluster.

    Raises:
        OutputError: the place cannot be written, or holds something else.
        InputError: no images, or one that cannot be read.
        SpecError: no such model, split, precision or engine.
        RankError: another process has ended.
    """
    parse_by(job.by)
    check_precision(job.precision)
    pictures, uri = open_pictures(job.images), str(out)  # before a model is loaded for nothing
    with ranks() as mine:
        who = engine_of(engine, mine, address)
        with who.started(), _reserved(uri, mine, resume):
            own = replace(options, device=mine.device(options.device))
            extractor = Extractor(prepare(own), job, pictures, loading or Loading())
            return Run(extractor, who, mine, progress).into(uri)


def cached(
    prepared: PreparedModel,
    job: ExtractConfig,
    cache: Path,
    *,
    loading: Loading | None = None,
    progress: Progress | None = None,
    check: Callable[[Sequence[Component]], object] | None = None,
) -> Store:
    """The same in a folder of a cache, whose name is a checksum of all that decides the result.

    It is that of the weights, the preprocessing, the settings, the images' names, labels and contents, and the version
    of vitdecomp, so that nothing old can be taken for it. What is there already is not computed again, and what is
    damaged is. The precision is that of the model, float32 at least, whatever the job says. Images that cannot be read
    are logged as a warning, if they may be skipped. `check` is called with the components before images are decomposed.

    Raises:
        OutputError: the cache cannot be written.
        InputError: no images, or one that cannot be read.
        SpecError: no such model or split.
    """
    parse_by(job.by)
    extractor = Extractor(prepared, job, open_pictures(job.images), loading or Loading())
    if check is not None:
        check(extractor.metadata.components)
    own = extractor.metadata.dtype
    precision = own if own in PRECISIONS and own != "float16" else "float32"
    extractor.metadata = replace(extractor.metadata, precision=precision)
    out = cache / f"{job.by.replace(',', '-')}-{extractor.key()}"
    run = Run(extractor, Local(Ranks(), None), progress=progress)
    with locked(str(out), wait=True):
        try:
            done = run.into(str(out))
            done.store.check()
        except (OutputError, DamageError):
            for part in (IMAGES, BASES):
                shutil.rmtree(out / part, ignore_errors=True)
            done = run.into(str(out))
    warn_of_skipped(done.skipped, len(extractor.wanted))
    return done.store


def _reserved(uri: str, mine: Ranks, resume: bool) -> AbstractContextManager[None]:
    """A store that nobody else writes to; the first process keeps it for all."""
    if not mine.first:
        return nullcontext()
    if StoreWriter(uri).metadata is not None and not resume:
        raise OutputError(f"{uri} holds an extraction already: leave out --no-resume, or give another place")
    return locked(uri)
