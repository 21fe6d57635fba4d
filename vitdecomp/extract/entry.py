"""Extract contributions to a store, or to a cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from vitdecomp._utils.progress import Progress
from vitdecomp.component import Component
from vitdecomp.datasets import open_pictures
from vitdecomp.distributed.executor import executor as make_executor
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.errors import DamageError, OutputError
from vitdecomp.extract.config import ExtractConfig, ExtractResult, parse_by
from vitdecomp.extract.extractor import Extractor
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
    config: ExtractConfig,
    out: Path | str,
    *,
    resume: bool = True,
    loading: Loading | None = None,
    progress: Progress | None = None,
    executor: str = "local",
    address: str | None = None,
) -> ExtractResult:
    """Write the contributions of a data set of images to a store, leaving out those that it holds already.

    Under torchrun all processes call it with the same arguments and share the work; each gets the result.

    Args:
        options: the model.
        config: what to extract from which images.
        out: the store.
        resume: add to a store that exists.
        loading: how images are read.
        progress: called with the images done and their number, in the first process.
        executor: runs the work: `local`, `ray`, or one of a plugin.
        address: of a cluster.

    Raises:
        OutputError: the store cannot be written, or holds something else.
        InputError: no images, or one that cannot be read.
        SpecError: no such model, granularity, precision or executor.
        RankError: another process has ended.
    """
    parse_by(config.by)
    check_precision(config.precision)
    pictures, uri = open_pictures(config.images), str(out)  # before a model is loaded for nothing
    runner = make_executor(executor, address)
    with runner.started() as ranks, _locked(uri, ranks, resume):
        own = replace(options, device=ranks.device(options.device))
        extractor = Extractor(prepare(own), config, pictures, loading or Loading())
        return Run(extractor, runner, ranks, progress).into(uri)


def cached(
    prepared: PreparedModel,
    config: ExtractConfig,
    cache: Path,
    *,
    loading: Loading | None = None,
    progress: Progress | None = None,
    check: Callable[[Sequence[Component]], object] | None = None,
) -> Store:
    """Extract contributions to a folder of a cache, named by a checksum of all that the result depends on.

    That is the weights, the preprocessing, the config, the images' names, labels and contents, and the version of
    vitdecomp. What is there already is not computed again, unless it is damaged. The precision is that of the model,
    float32 at least, whatever the config says. Images that cannot be read are logged as a warning, if they may
    be skipped. `check` is called with the components before images are decomposed.

    Raises:
        OutputError: the cache cannot be written.
        InputError: no images, or one that cannot be read.
        SpecError: no such model or granularity.
    """
    parse_by(config.by)
    extractor = Extractor(prepared, config, open_pictures(config.images), loading or Loading())
    if check is not None:
        check(extractor.metadata.components)
    own = extractor.metadata.dtype
    precision = own if own in PRECISIONS and own != "float16" else "float32"
    extractor.metadata = replace(extractor.metadata, precision=precision)
    out = cache / f"{config.by.replace(',', '-')}-{extractor.key()}"
    run = Run(extractor, progress=progress)
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


def _locked(uri: str, ranks: Ranks, resume: bool) -> AbstractContextManager[None]:
    """Lock a store for all processes of a run; the first one holds the lock."""
    if not ranks.first:
        return nullcontext()
    if StoreWriter(uri).metadata is not None and not resume:
        raise OutputError(f"{uri} holds an extraction already: omit --no-resume, or choose another --out")
    return locked(uri)
