"""A model's contributions to a folder of images in the space of a CLIP, where texts can be compared with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vitdecomp._utils.progress import Stage
from vitdecomp.component import Component
from vitdecomp.datasets import Pictures, open_pictures
from vitdecomp.errors import SpecError
from vitdecomp.extract import ExtractConfig, cached
from vitdecomp.extract.units import find_directions
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, PreparedModel, prepare, prepare_texts
from vitdecomp.provenance import Origin, weights_checksum
from vitdecomp.scenes.folder import cached_scenes
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.source import Source
from vitdecomp.store.store import Store
from vitdecomp.units import AskedDirections, Directions, SplitSource
from vitdecomp_alignment.clip.space import ClipSpace

if TYPE_CHECKING:  # scikit-learn takes longer to import than all else
    from vitdecomp_alignment.aligners.linear import LinearAligner
    from vitdecomp_alignment.clip.maps import MapsToClip

WORLD = 512  # images of the embedded world, where no others are given


class NoTextsError(SpecError):
    """A model that reads no texts, where no maps lead to one that does."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Which contributions are meant, and how they come into CLIP's space.

    Attributes:
        images: a folder; images of the embedded world by default.
        maps: what `vitdecomp align` wrote; not needed for a model with texts of its own.
        clip: the model whose texts are used; by default that of the maps, if a library defines it.
        by: as for `ExtractConfig`. limit: take no more images than this.
        store: what `vitdecomp extract` wrote, in place of images; it is read whole, and split as it is.
        directions: into which each component is split further; `None` for none.
    """

    images: Path | None = None
    maps: Path | None = None
    clip: str | None = None
    by: str = "head"
    limit: int | None = 1000
    store: str | None = None
    directions: AskedDirections | None = None

    @property
    def usual_features(self) -> str:
        """The set of features that suits the images."""
        return "scenes" if self.images is None and self.store is None else "photographs"

    def __post_init__(self) -> None:
        """Refuse images beside a store."""
        if self.store is not None and self.images is not None:
            raise SpecError("give --images or --store, not both")


@dataclass(frozen=True, slots=True)
class InClip:
    """Contributions, the maps that take them to CLIP, and CLIP.

    Attributes:
        subject: the model; `None` if there was no need to load it. store: its contributions in its own space.
        aligner: maps into the space, if it is not the model's own. space: where the texts are.
        skipped: names of images that cannot be read. directions: of the components, if they are split.
    """

    subject: PreparedModel | None
    store: Store
    aligner: LinearAligner | None
    space: ClipSpace
    skipped: tuple[str, ...] = ()
    directions: Directions | None = None

    @property
    def source(self) -> Source:
        """The contributions in the space, of components or of their units."""
        if self.directions is None:
            return self.store if self.aligner is None else Aligned(self.store, self.aligner)
        units = SplitSource(self.store, self.directions)
        return units if self.aligner is None else Aligned(units, self.aligner.split(self.directions))


def in_clip(
    options: ModelOptions,
    reading: Reading,
    cache: Path,
    *,
    loading: Loading,
    stage: Stage,
    subject_too: bool = True,
    check: Callable[[Sequence[Component]], object] | None = None,
) -> InClip:
    """Decompose images, or read their contributions from the cache or a store.

    Args:
        options: the model.
        reading: which contributions.
        cache: folder for what can be computed again.
        loading: how images are read.
        stage: shows what is being done.
        subject_too: load the model even where a store tells enough.
        check: is called with the components as soon as they are known, before images are decomposed.

    Raises:
        InputError: no images or maps, or maps of another model.
        SpecError: no such model, or a model without texts and no maps.
        OutputError: the cache cannot be written.
    """
    check = None if reading.directions else check  # units have names of their own, which are not known yet
    maps = None
    if reading.maps is not None:
        from vitdecomp_alignment.clip.maps import MapsToClip

        maps = MapsToClip.read(reading.maps, clip=reading.clip, model=options.model)
    aligner = None if maps is None else maps.aligner
    place = place_of(reading, cache)  # before a model is loaded for nothing
    known = place.components if isinstance(place, Store) else None if aligner is None else aligner.components_
    if check is not None and known is not None:
        check(known)
    texts = cache / "texts"
    with stage(f"contributions of {options.model}") as progress:
        if isinstance(place, Store) and not subject_too:
            alone = _space_alone(options, maps, place, texts)
            if alone is not None:
                return InClip(
                    None, place, aligner, alone, directions=directions_of(reading, place, lambda: prepare(options))
                )
        subject = prepare(options)
        check_origins(subject, aligner, place)
        space = _own_space(subject, texts) if maps is None else maps.space(device=options.device, cache=texts)
        if isinstance(place, Store):
            return InClip(subject, place, aligner, space, directions=directions_of(reading, place, lambda: subject))
        job = ExtractConfig(place, reading.by, limit=reading.limit)
        store = cached(subject, job, cache, loading=loading, progress=progress, check=check)
        directions = directions_of(reading, store, lambda: subject)
        return InClip(subject, store, aligner, space, job.skipped(store), directions)


def directions_of(reading: Reading, store: Store, model: Callable[[], PreparedModel]) -> Directions | None:
    """Find the directions into which the components of a store are split, if they are.

    Raises:
        InputError: fewer than two images.
    """
    return None if reading.directions is None else find_directions(reading.directions, store, model)


def place_of(reading: Reading, cache: Path) -> Store | Pictures:
    """Return the store, or the images that are to be decomposed."""
    if reading.store is not None:
        return Store(reading.store)
    return pictures(reading.images, cache)


def pictures(images: Path | None, cache: Path) -> Pictures:
    """Return the user's images, or those of the embedded world."""
    return open_pictures(images or cached_scenes(cache, WORLD, "test") / "test")


def check_origins(subject: PreparedModel, aligner: LinearAligner | None, place: Store | Pictures) -> None:
    """Raise `InputError` if maps or a store are of another model."""
    claims = [] if aligner is None or aligner.origin_ is None else [(aligner.origin_, "the maps are for")]
    if isinstance(place, Store):
        claims.append((place.origin, f"{place.uri} holds contributions of"))
    for origin, what in claims:
        origin.check(Origin.of(subject.loaded.module, subject.loaded.spec, origin.output), what)


def _space_alone(options: ModelOptions, maps: MapsToClip | None, store: Store, cache: Path) -> ClipSpace | None:
    """Return the space of a store's own model without loading the model, where that can be done; else `None`.

    That is shown by the checksum of the weights beside its text tower, or by maps that say the same as the store.
    """
    if not options.as_it_comes:
        return None
    if maps is None:
        reader = prepare_texts(options)
        same = reader is not None and weights_checksum(reader.module) == store.origin.weights
        return ClipSpace(reader, cache=cache) if reader is not None and same else None
    claim = maps.aligner.origin_
    if claim is None or (claim.model, claim.weights) != (options.model, store.origin.weights):
        return None
    return maps.space(device=options.device, cache=cache)


def _own_space(subject: PreparedModel, cache: Path) -> ClipSpace:
    """Return the space of a model that reads texts itself."""
    if subject.loaded.encode_text is None:
        raise NoTextsError(
            f"{subject.loaded.spec} has no texts of its own: give --maps, made with "
            f"`vitdecomp align {subject.loaded.spec} --clip CLIP --images DIR --out FILE`"
        )
    return ClipSpace(subject.loaded, cache=cache)
