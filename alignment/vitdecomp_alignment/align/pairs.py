"""The same images as a model takes them apart and as CLIP sees them: made now, or kept from an earlier time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.progress import Progress, Stage
from vitdecomp.datasets import open_pictures
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.errors import InputError, SpecError
from vitdecomp.extract import REPRESENTATION, ExtractConfig, cached
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, PreparedModel, prepare
from vitdecomp.provenance import Origin
from vitdecomp.store.store import Store


@dataclass(frozen=True, slots=True)
class Pairs:
    """The same images as a model takes them apart and as CLIP sees them.

    Attributes:
        subject, clip: the models, unless all was there already and none was loaded.
        store: contributions to the subject's representations.
        target: CLIP's vectors, `(n, d_clip)`. target_origin: and where they come from, if it is known.
    """

    subject: PreparedModel | None
    clip: PreparedModel | None
    store: Store
    target: Tensor
    target_origin: Origin | None


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which images are paired, and by which models.

    Attributes:
        subject, clip: the models. cache: where what they make of images is kept.
        job: images, and how the subject's contributions to them are split.
        store: what `vitdecomp extract` wrote, in place of taking the images apart; it is split as it is.
    """

    subject: ModelOptions
    clip: ModelOptions
    cache: Path
    job: ExtractConfig | None
    store: str | None = None

    def __post_init__(self) -> None:
        """Refuse neither images nor a store."""
        if self.store is None and self.job is None:
            raise SpecError("give --images, or --store with what `vitdecomp extract` wrote")

    def on(self, ranks: Ranks) -> Pairing:
        """Move both models to the device of one process of a run."""
        subject, clip = (replace(options, device=ranks.device(options.device)) for options in (self.subject, self.clip))
        return replace(self, subject=subject, clip=clip)


def gather_in_turn(pairing: Pairing, ranks: Ranks, *, loading: Loading, stage: Stage) -> Pairs:
    """Gather in all processes of a run: the first one decomposes, the others read the cache.

    Raises:
        RankError: another process has ended.
    """
    pairing = pairing.on(ranks)
    pairs = gather(pairing, loading=loading, stage=stage) if ranks.first else None
    ranks.barrier()
    return pairs or gather(pairing, loading=loading, stage=stage)


def gather(pairing: Pairing, *, loading: Loading, stage: Stage) -> Pairs:
    """Take images apart, and let CLIP see them, or read both from the cache or from a store.

    Raises:
        InputError: no images, or one that cannot be read, or a store of other images.
        OutputError: the cache cannot be written.
        SpecError, LoadError: no such model, or its weights cannot be had; a store of another model, or without
            CLIP's vectors.
    """
    job, model = pairing.job, pairing.subject.model
    if job is not None:
        open_pictures(job.images)  # before a model is loaded for nothing
    seer = None if job is None else _with_texts(pairing.clip)  # before anything is taken apart for nothing
    with stage(f"contributions of {model}") as progress:
        prepared, store = _contributions(pairing, loading, progress)
    with stage(f"vectors of {pairing.clip.model}") as progress:
        if job is None:
            return Pairs(None, None, store, *_kept(store, pairing.clip.model))
        assert seer is not None  # there are images, so CLIP was loaded
        seen = ExtractConfig(job.images, REPRESENTATION, limit=job.limit)
        vectors = cached(seer, seen, pairing.cache, loading=loading, progress=progress)
        if vectors.ids != store.ids and pairing.store is None:
            raise InputError(
                f"{model} and {pairing.clip.model} read different images: remove those that cannot be read"
            )
        target = _of_the_same(vectors, store, job.images)
        if pairing.store is not None and not _keeps(store, pairing.clip.model, vectors.origin):
            store.add_vectors(pairing.clip.model, target, vectors.origin)
    return Pairs(prepared, seer, store, target, vectors.origin)


def _with_texts(options: ModelOptions) -> PreparedModel:
    """Prepare the model whose space is aligned to; refuse one without texts, which could name nothing there."""
    prepared = prepare(options)
    if prepared.loaded.encode_text is None:
        raise SpecError(
            f"{options.model} has no texts, so nothing could be named in its space: give a CLIP or SigLIP as --clip"
        )
    return prepared


def _contributions(pairing: Pairing, loading: Loading, progress: Progress | None) -> tuple[PreparedModel | None, Store]:
    """Read what was extracted before, or extract it now; return also the model that does it."""
    if pairing.store is not None:
        return None, _opened(pairing.store, pairing.subject.model)
    assert pairing.job is not None  # a pairing has one of them
    prepared = prepare(pairing.subject)
    return prepared, cached(prepared, pairing.job, pairing.cache, loading=loading, progress=progress)


def _of_the_same(vectors: Store, store: Store, images: object) -> Float[Tensor, "n d_clip"]:
    """Vectors of the images in a store, in its order."""
    places = {name: place for place, name in enumerate(vectors.ids)}
    missing = [name for name in store.ids if name not in places]
    if missing:
        raise InputError(f"{store.uri} holds {missing[0]} and {len(missing) - 1} more images that are not in {images}")
    found = torch.cat([batch.total() for batch in vectors.batches(256)])
    return found[torch.tensor([places[name] for name in store.ids])]


def _kept(store: Store, name: str) -> tuple[Tensor, Origin | None]:
    """Return CLIP's vectors of a store's images."""
    try:
        return store.vectors(name)
    except SpecError as error:
        raise SpecError(f"{error} (give --images too: the vectors of its images are then kept in it)") from error


def _keeps(store: Store, name: str, origin: Origin) -> bool:
    return name in store.vectors_of and store.vectors(name)[1] == origin


def _opened(place: str, model: str) -> Store:
    store = Store(place)
    if store.origin.model != model:
        raise SpecError(f"{place} holds contributions of {store.origin.model}, not of {model}")
    return store
