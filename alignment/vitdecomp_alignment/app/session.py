"""What the explorer has loaded: contributions, texts, a model; each once, when it is first asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitdecomp._utils.files import cache_directory
from vitdecomp._utils.progress import Stage, unseen
from vitdecomp.component import Component, matching
from vitdecomp.contributions import Contributions
from vitdecomp.datasets import Pictures
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import InputError
from vitdecomp.extract import parse_by
from vitdecomp.images.decoding import decode
from vitdecomp.models.prepare import ModelOptions, PreparedModel, fitted, prepare
from vitdecomp.retrieval import Hit, Retriever
from vitdecomp.retrieval.hit_images import HitImages, InDataSet, InFolders
from vitdecomp.score import FeatureScorer
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.held import Held
from vitdecomp.sources.source import Columns, Source
from vitdecomp.store.store import Store
from vitdecomp_alignment.app.config import SessionConfig
from vitdecomp_alignment.app.lazy_ranking import LazyRanking
from vitdecomp_alignment.app.sample import SAMPLE, sample
from vitdecomp_alignment.app.uploads import Uploads
from vitdecomp_alignment.cli.search.searchable import Searchable
from vitdecomp_alignment.clip.contributions import InClip, Reading, check_origins, in_clip, pictures
from vitdecomp_alignment.clip.space import ClipSpace
from vitdecomp_alignment.texts import usual_texts
from vitdecomp_alignment.texts.feature_words import read_features

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Session:
    """A model to look into, with images and texts.

    Args:
        config: what.
        options: the model. found: contributions and texts.
        place: the data set, unless a store stands in its place.

    Attributes:
        words: of features.
    """

    def __init__(self, config: SessionConfig, options: ModelOptions, found: InClip, place: Pictures | None) -> None:
        self.config, self.options, self.found, self.pictures = config, options, found, place
        self.words = read_features(config.features, config.reading.usual_features).words
        self._made: dict[object, Any] = {}
        self._temporary: TemporaryDirectory[str] | None = None

    @classmethod
    def of(cls, config: SessionConfig, stage: Stage = unseen) -> Session:
        """Open what is to be looked into; images without a store are decomposed, or read from the cache.

        Raises:
            InputError: no images, store or maps, or maps of another model.
            SpecError: no such model, or a model without texts and no maps.
        """
        for folder in config.folders:
            if not folder.is_dir():
                raise InputError(f"there is no folder {folder}: --image-root names folders that images are taken from")
        options, cache = config.options(), config.cache or cache_directory()
        found = in_clip(options, config.reading, cache, loading=config.loading, stage=stage, subject_too=False)
        place = None if config.reading.store is not None else pictures(config.reading.images, cache)
        return cls(replace(config, cache=cache), options, found, place)

    @classmethod
    def open(  # noqa: PLR0913 - one for each flag
        cls,
        model: str | ModelOptions | None = None,
        *,
        store: str | None = None,
        maps: str | Path | None = None,
        clip: str | None = None,
        images: str | Path | None = None,
        by: str = "head",
        limit: int | None = 1000,
        features: Sequence[str] = (),
        cache: str | Path | None = None,
    ) -> Session:
        """Open a session from Python, as `vitdecomp app` does with the flags of these names."""
        maps, images, cache = (None if place is None else Path(place) for place in (maps, images, cache))
        reading = Reading(images, maps, clip, by, limit, store)
        if isinstance(model, ModelOptions):
            own, spec = model, model.model
            return cls.of(SessionConfig(lambda _: own, spec, reading, tuple(features), cache=cache))
        return cls.of(SessionConfig(ModelOptions, model, reading, tuple(features), cache=cache))

    def close(self) -> None:
        """Remove the files of this session."""
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def folder(self) -> Path:
        """Return where this session may write files, which `close` removes."""
        if self._temporary is None:
            self._temporary = TemporaryDirectory(prefix="vitdecomp-app-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)

    @property
    def uploads(self) -> Uploads:
        """Images that were dropped."""
        return self.once("uploads", lambda: Uploads(self.folder))

    def once(self, key: object, make: Callable[[], T]) -> T:
        """Make a thing when it is first asked for, and keep it."""
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found

    @property
    def cache(self) -> Path:
        """Folder for what can be computed again."""
        return self.config.cache or cache_directory()

    @property
    def store(self) -> Store:
        """Contributions in the model's own space."""
        return self.found.store

    @property
    def space(self) -> ClipSpace:
        """Return the space of texts."""
        return self.found.space

    @property
    def components(self) -> tuple[Component, ...]:
        """The component axis."""
        return self.store.components

    def component(self, name: str) -> Component:
        """Return a component by its name.

        Raises:
            SpecError: there is none.
        """
        return matching(self.components, (name.replace("[", "[[]"),))[0]

    @property
    def subject(self) -> PreparedModel:
        """The model, loaded when images are first asked about.

        Raises:
            InputError: it is not the one that the store is of.
        """

        def load() -> PreparedModel:
            subject = self.found.subject or prepare(self.options)
            check_origins(subject, self.found.aligner, self.store)
            return subject

        return self.once("subject", load)

    @property
    def decomposer(self) -> Decomposer:
        """The model, traced."""

        def trace() -> Decomposer:
            image = Image.new("RGB", (64, 64))
            decomposer = Decomposer(self.subject.loaded, by=parse_by(self.store.metadata.by))
            return fitted(decomposer.fit, self.subject.batch([image]), self.subject)

        return self.once("decomposer", trace)

    def decompose(self, images: Sequence[Image.Image]) -> Contributions:
        """Decompose images."""
        return self.decomposer.transform(self.subject.batch(images))

    def aligned(self, c: Contributions) -> Contributions:
        """Take contributions into the space of texts."""
        aligner = self.found.aligner
        return c if aligner is None else aligner.transform(c)

    @property
    def pool(self) -> tuple[tuple[str, ...], Float[Tensor, "t d"]]:
        """The texts that names are chosen from, with their vectors."""

        def encode() -> tuple[tuple[str, ...], Tensor]:
            labels = usual_texts(self.space.spec)
            return labels, self.space.encode_text(labels).cpu()

        return self.once("pool", encode)

    @property
    def texts(self) -> Mapping[str, Float[Tensor, "_ d"]]:
        """Vectors of the words of each feature."""
        return self.once(
            "texts", lambda: {name: self.space.encode_text(list(some)).cpu() for name, some in self.words.items()}
        )

    @property
    def is_large(self) -> bool:
        """Say whether measures are taken on a sample of the images."""
        return len(self.store) > SAMPLE

    def sample(self, stage: Stage = unseen) -> Held:
        """Return the contributions to the images that stand for all, or to all if they are few."""

        def read() -> Held:
            with stage("contributions") as progress:
                return Held.of(self.store, sample(len(self.store)), progress)

        return self.once("sample", read)

    def in_space(self, source: Columns) -> Source:
        """Take a source of contributions into the space of texts."""
        return source if self.found.aligner is None else Aligned(source, self.found.aligner)

    def scorer(self, center: str, stage: Stage = unseen) -> FeatureScorer:
        """Score all components for all features, on all images."""
        return self.once(("scorer", center), lambda: self._scored(self.found.source, center, stage))

    def sample_scorer(self, stage: Stage = unseen) -> FeatureScorer:
        """Score all components for all features, on the sample, as `vitdecomp rank` does."""
        return self.once("sample scorer", lambda: self._scored(self.in_space(self.sample(stage)), "none", stage))

    def _scored(self, source: Source, center: str, stage: Stage) -> FeatureScorer:
        with stage("scoring") as progress:
            scorer = FeatureScorer(center=center, bootstrap=0, shuffles=0, random_state=self.options.seed)
            return scorer.fit(source, self.texts, progress=progress)

    @property
    def retriever(self) -> Retriever:
        """Return what searches, as `vitdecomp search` does."""
        return self.once("retriever", self._retriever)

    def _retriever(self) -> Retriever:
        return Retriever(
            self.store,
            aligner=self.found.aligner,
            scorer=LazyRanking(tuple(self.words), lambda: self.scorer("feature")),
            texts=self.texts,
            encode_text=lambda some: self.space.encode_text(some).cpu(),
            decompose=self.decompose,
            subspace="texts",
            cache=self.cache / "lengths",
        )

    def searchable(self, *, references: bool) -> Searchable:
        """Return where is searched; the model is loaded only where references are decomposed."""
        subject = self.subject if references else None
        return Searchable(self.store, self.found.aligner, subject, self.space, self.pictures, self.found.skipped)

    def hit_images(self, rows: Sequence[int]) -> HitImages:
        """Return where images may be taken from: the data set, or folders that the user named for a store."""
        if self.pictures is not None:
            place = self.pictures
            return self.once("images", lambda: InDataSet.of(place))
        return InFolders(self.config.folders, dict(zip(rows, self.store.digests(rows), strict=True)))

    def hit(self, row: int) -> Hit:
        """Return an image by its row.

        Raises:
            InputError: there is no such row.
        """
        name, path = self.store.names([row])[0]
        return Hit(row, name, path, 0.0)

    def image(self, row: int) -> Image.Image:
        """Open an image by its row.

        Raises:
            InputError: it cannot be read, or must not be.
        """
        hit = self.hit(row)
        try:
            data, _ = self.hit_images([row]).read(hit)
        except OSError as error:
            raise InputError(f"no image of row {row} ({hit.id}): {error.strerror or error}") from error
        return decode(data, hit.id)
