"""Where a search is carried out: contributions, the space that they are compared in, and who reads what is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vitdecomp._utils.progress import Stage
from vitdecomp.component import Component
from vitdecomp.datasets import Pictures
from vitdecomp.errors import InputError, SpecError
from vitdecomp.extract import ExtractConfig, cached
from vitdecomp.images.decoding import DECODING
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, PreparedModel, prepare
from vitdecomp.models.preprocessing import describe
from vitdecomp.retrieval import Hit
from vitdecomp.retrieval.hit_images import HitImages, InDataSet, InFolders
from vitdecomp.store.store import Store
from vitdecomp.units import Directions
from vitdecomp_alignment.clip.contributions import Reading, check_origins, directions_of, in_clip, place_of
from vitdecomp_alignment.clip.space import ClipSpace

if TYPE_CHECKING:  # scikit-learn takes longer to import than all else
    from vitdecomp_alignment.aligners.linear import LinearAligner

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a search takes.

    Attributes:
        k: how many images are to be found. texts: whether texts are read.
        references: whether images are looked for, which the model decomposes if it is named.
        check: called with the components as soon as they are known, before images are decomposed.
    """

    k: int
    texts: bool
    references: bool
    check: Callable[[Sequence[Component]], object] | None = None


@dataclass(frozen=True, slots=True)
class Searchable:
    """Contributions of images, and what else a search takes.

    Attributes:
        store: the contributions in the model's own space. aligner: maps to another one.
        subject: the model, which takes references apart; `None` if there was no need of it.
        space: where texts are; `None` if none are asked for.
        pictures: the data set, unless a store stands in its place. skipped: names of images that cannot be read.
        directions: of the components, if they are split.
    """

    store: Store
    aligner: LinearAligner | None
    subject: PreparedModel | None
    space: ClipSpace | None
    pictures: Pictures | None
    skipped: tuple[str, ...] = ()
    directions: Directions | None = None

    def images(self, hits: Sequence[Hit], folders: Sequence[Path]) -> HitImages:
        """Return the source of a sheet's images: the data set, or folders that the user names for a store."""
        if self.pictures is not None:
            return InDataSet.of(self.pictures)
        rows = sorted({hit.row for hit in hits})
        return InFolders(tuple(folders), dict(zip(rows, self.store.digests(rows), strict=True)))


def searchable(
    options: ModelOptions | None, reading: Reading, cache: Path, needs: Needs, *, loading: Loading, stage: Stage
) -> Searchable:
    """Take images apart, or open what was made of them; a CLIP is loaded for texts alone.

    Args:
        options: the model; images of a store can be compared without it.
        reading: which contributions.
        cache: folder for what can be computed again.
        needs: what is asked for.
        loading: how images are read.
        stage: shows what is being done.

    Raises:
        InputError: no images or maps, fewer images than are to be found, or maps or contributions of another model.
        SpecError: no such model, none where one is needed, or a model without texts and no maps for texts.
        OutputError: the cache cannot be written.
    """
    if options is None and (needs.texts or reading.store is None):
        raise SpecError("give MODEL: without it only images of a --store are found, by --image")
    place = place_of(reading, cache)
    n = len(place) if isinstance(place, Store) else len(place.pictures[: reading.limit])
    if needs.k > n:
        raise InputError(f"k = {needs.k}, but there are {n} images")
    pictures = None if isinstance(place, Store) else place
    if needs.texts and options is not None:
        found = in_clip(
            options, reading, cache, loading=loading, stage=stage, subject_too=needs.references, check=needs.check
        )
        return Searchable(
            found.store, found.aligner, found.subject, found.space, pictures, found.skipped, found.directions
        )
    aligner = None if reading.maps is None else _maps(reading.maps, None if options is None else options.model)
    if needs.check is not None and isinstance(place, Store):
        needs.check(place.components)
    if options is None:
        assert isinstance(place, Store)
        return Searchable(place, aligner, None, None, None, directions=directions_of(reading, place, _no_model))
    with stage(f"contributions of {options.model}") as progress:
        subject = prepare(options)
        check_origins(subject, aligner, place)
        if isinstance(place, Store):
            directions = directions_of(reading, place, lambda: subject)
            return Searchable(place, aligner, subject, None, None, directions=directions)
        job = ExtractConfig(place, reading.by, limit=reading.limit)
        store = cached(subject, job, cache, loading=loading, progress=progress, check=needs.check)
    directions = directions_of(reading, store, lambda: subject)
    return Searchable(store, aligner, subject, None, pictures, job.skipped(store), directions)


def _no_model() -> PreparedModel:
    raise SpecError("give MODEL: singular directions are those of its maps")


def _maps(path: Path, model: str | None) -> LinearAligner:
    from vitdecomp_alignment.clip.maps import load_aligner

    return load_aligner(path, model)


def warn_of_differences(store: Store, subject: PreparedModel) -> None:
    """Log in what a reference is read otherwise than the images of a store."""
    if store.metadata.decoding != DECODING:
        logger.warning("the images of %s were decoded by another version of vitdecomp than references are", store.uri)
    if store.metadata.preprocessing != describe(subject.preprocess):
        logger.warning(
            "the images of %s were preprocessed by %s, references are by %s",
            store.uri,
            store.metadata.preprocessing,
            describe(subject.preprocess),
        )
