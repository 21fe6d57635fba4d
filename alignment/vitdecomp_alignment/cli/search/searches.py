"""Search the images of a folder or a store for those that are like a text or like other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from vitdecomp._utils.progress import Stage
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.component import Component, matching
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.extract import parse_by
from vitdecomp.images.opening import open_image
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, PreparedModel, fitted
from vitdecomp.retrieval import Hit, Query, Retriever, Scope
from vitdecomp.retrieval.hit_images import HitImages, InFolders
from vitdecomp.retrieval.scope import SUBSPACES
from vitdecomp.retrieval.sheet import Sheet
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.source import Columns, Source
from vitdecomp.units import Directions, SplitSource
from vitdecomp_alignment.cli.options import Count, check_top
from vitdecomp_alignment.cli.search.own_hits import OwnHits
from vitdecomp_alignment.cli.search.searchable import Needs, Searchable, searchable, warn_of_differences
from vitdecomp_alignment.clip.contributions import Reading
from vitdecomp_alignment.clip.space import ClipSpace
from vitdecomp_alignment.texts.feature_words import read_features

if TYPE_CHECKING:  # these take longer to import than a search
    from vitdecomp.decompose import Decomposer
    from vitdecomp.score import FeatureScorer

Decompose = Callable[[Sequence[Image.Image]], Contributions]
BATCH = 256  # images read at a time
NAMED = 3  # references that are named


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """What to look for, and where.

    Attributes:
        reading: which contributions. query: what to look for. scope: which components.
        features: words of features, as for `feature_words.read_features`. top, subspace, center: as for `Retriever`.
        k: how many images. keep_references: let references be their own hits.
        sheet: find what a sheet shows too: search in the whole embedding too, if it is not the scope.
        folders: where a sheet may take images of a store from.
    """

    reading: Reading
    query: Query
    scope: Scope = field(default_factory=Scope)
    features: tuple[str, ...] = ()
    top: Count | None = None
    subspace: str = "texts"
    center: bool = True
    k: int = 10
    keep_references: bool = False
    sheet: bool = False
    folders: tuple[Path, ...] = ()

    @property
    def needs_texts(self) -> bool:
        """Whether any text is to be read."""
        return bool(self.query.texts or self.query.against or self.scope.features)

    @property
    def needs_references(self) -> bool:
        """Whether any image is looked for."""
        against = self.query.against
        return bool(self.query.images or (against and against.images))


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was found.

    Attributes:
        model, clip: their specs, where there are any. images: how many were searched.
        query, scope: what was looked for. components: by their names. hits: the best first.
        whole: the hits in the whole embedding, if they were asked for too.
        left_out: references among them, which do not count.
        pictures: where the images of hits are. skipped: names of images that cannot be read.
    """

    model: str | None
    clip: str | None
    images: int
    query: Query
    scope: Scope
    components: tuple[str, ...]
    hits: tuple[Hit, ...]
    whole: tuple[Hit, ...] = ()
    left_out: tuple[Hit, ...] = ()
    pictures: HitImages = field(default_factory=InFolders)
    skipped: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Where was searched."""
        of = f" of {self.model}" if self.model else ""
        return f"{self.images:,} images by {len(self.components)} components{of}"

    @property
    def asked(self) -> str:
        """What was looked for, in words."""
        query, scope = self.query, self.scope
        against = [] if query.against is None else query.against.texts
        parts = {
            "like": ", ".join([*(f'"{text}"' for text in query.texts), *(str(image) for image in query.images)]),
            "in": scope.feature or "",
            "by": ", ".join(scope.components),
            "without": ", ".join(scope.without),
            "not like": ", ".join(f'"{text}"' for text in against),
        }
        return "; ".join(f"{name} {value}" for name, value in parts.items() if value)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the hits."""
        if not self.left_out:
            return ()
        rows = ", ".join(f"row {hit.row} ({hit.id})" for hit in self.left_out[:NAMED])
        more = f" and {len(self.left_out) - NAMED} more" if len(self.left_out) > NAMED else ""
        return (f"left out, since they are what is looked for: {rows}{more}",)

    def references(self) -> list[Image.Image]:
        """Open the images that were looked for."""
        return [open_image(Path(image)) for image in self.query.images if isinstance(image, (str, Path))]

    def sheet(self) -> Sheet:
        """Return the result as a sheet."""
        return Sheet(self.title, self.asked, self.references(), self.hits, self.whole, self.pictures, self.notes)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        against = [] if self.query.against is None else list(self.query.against.texts)
        return {
            "model": self.model,
            "clip": self.clip,
            "images": self.images,
            "skipped": list(self.skipped),
            "texts": list(self.query.texts),
            "references": [str(image) for image in self.query.images],
            "negative": against,
            "feature": self.scope.feature,
            "without": list(self.scope.without),
            "components": list(self.components),
            "hits": [hit.to_json() for hit in self.hits],
            "whole": [hit.to_json() for hit in self.whole],
            "left_out": [hit.to_json() for hit in self.left_out],
        }


def search(
    options: ModelOptions | None, config: SearchConfig, cache: Path, *, loading: Loading, stage: Stage
) -> SearchResult:
    """Search images.

    Args:
        options: the model; without it only images of a store are compared.
        config: what to look for.
        cache: folder for what can be computed again.
        loading: how images are read.
        stage: shows what is being done.

    Raises:
        InputError: no images or maps, maps of another model, or an image that cannot be read.
        SpecError: no such model, feature, component or setting, or a model without texts and no maps.
        OutputError: the cache cannot be written.
    """
    reading = config.reading
    words = read_features(config.features, reading.usual_features).words
    check(config, words)
    known = None if reading.directions else partial(check_components, config)  # units are not known yet
    needs = Needs(config.k, config.needs_texts, config.needs_references, known)
    found = searchable(options, reading, cache, needs, loading=loading, stage=stage)
    return searched(found, _retriever(found, words, config, cache, stage), options, config, stage)


def searched(
    found: Searchable, retriever: Retriever, options: ModelOptions | None, config: SearchConfig, stage: Stage
) -> SearchResult:
    """Search where everything is at hand.

    Args:
        found: the contributions, and the model if references are decomposed.
        retriever: of these.
        options: the model.
        config: what to look for.
        stage: shows what is being done.

    Raises:
        InputError: a reference that is not among the images, and no model to decompose it.
        SpecError: no such feature or component.
    """
    own = OwnHits.of(config.query, found.store)
    missing = found.subject is None and own.files
    query = own.as_rows(config.query, found.store) if missing else config.query
    if found.subject is not None and own.files:
        warn_of_differences(found.store, found.subject)
    scopes = [config.scope, *([Scope()] if config.sheet and config.scope != Scope() else [])]
    with stage("searching") as progress:
        k = min(config.k + len(own), len(found.store))
        every = [retriever.search_many([query], scope, k=k, progress=progress)[0] for scope in scopes]
    parts = [(list(hits), []) if config.keep_references else own.apart(hits) for hits in every]
    kept = [tuple(hits[: config.k]) for hits, _ in parts]
    return SearchResult(
        None if options is None else options.model,
        None if found.space is None else found.space.spec,
        len(found.store),
        config.query,
        config.scope,
        tuple(c.name for c in retriever.view(config.scope).components),
        kept[0],
        kept[1] if len(kept) > 1 else (),
        tuple({hit.row: hit for _, left_out in parts for hit in left_out}.values()),
        found.images([hit for hits in kept for hit in hits], config.folders) if config.sheet else InFolders(),
        found.skipped,
    )


def check(config: SearchConfig, words: Mapping[str, Sequence[str]]) -> None:
    """Raise an error for what could not be searched for, before a model is loaded for nothing.

    Raises:
        SpecError: no such feature or subspace.
        InputError: a reference that cannot be read, or no folder where one is named.
    """
    tables = [("feature", name, list(words)) for name in config.scope.features]
    tables.append(("subspace", config.subspace, list(SUBSPACES)))
    for noun, name, known in tables:
        if name not in known:
            raise SpecError(f"no {noun} {name!r}{did_you_mean(name, known)}")
    for folder in config.folders:
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}: --image-root names folders that images are taken from")
    for image in config.query.images:
        if isinstance(image, (str, Path)):
            open_image(Path(image))


def check_components(config: SearchConfig, components: Sequence[Component]) -> None:
    """Raise `SpecError` for components that a model does not have, before images are decomposed for nothing."""
    if config.scope.components:
        matching(components, config.scope.components)
    elif config.scope.features:
        check_top(config.top, components)


def by_columns(source: Source) -> Columns:
    """Return the source itself if it can be read by columns, else its contributions in memory."""
    if isinstance(source, Columns):
        return source
    n = len(source)
    return Contributions.joined([source.take(range(i, min(i + BATCH, n))) for i in range(0, n, BATCH)])


def taken_apart(prepared: PreparedModel, by: str) -> Decompose:
    """Decompose images by a model, which is traced when the first of them comes."""
    traced: list[Decomposer] = []

    def decompose(pictures: Sequence[Image.Image]) -> Contributions:
        batch = prepared.batch(pictures)
        if not traced:
            from vitdecomp.decompose import Decomposer

            traced.append(fitted(Decomposer(prepared.loaded, by=parse_by(by)).fit, batch[:1], prepared))
        return traced[0].transform(batch)

    return decompose


def _retriever(
    found: Searchable, words: Mapping[str, Sequence[str]], config: SearchConfig, cache: Path, stage: Stage
) -> Retriever:
    """Build the retriever, with texts and a model if there are any."""
    space, subject, directions = found.space, found.subject, found.directions
    aligner, source = found.aligner, by_columns(found.store)
    decompose = None if subject is None else taken_apart(subject, found.store.metadata.by)
    if directions is not None:
        source, aligner = SplitSource(source, directions), aligner and aligner.split(directions)
        decompose = decompose and _in_units(decompose, directions)
    seen = source if aligner is None else Aligned(source, aligner)
    texts, scorer = ({}, None) if space is None else _known(seen, space, words, config, stage)
    return Retriever(
        source,
        aligner=aligner,
        scorer=scorer,
        texts=texts,
        encode_text=None if space is None else lambda some: space.encode_text(some).cpu(),
        decompose=decompose,
        top=config.top,
        center=config.center,
        subspace=config.subspace,
        cache=cache / "lengths",
    )


def _in_units(decompose: Decompose, directions: Directions) -> Decompose:
    return lambda pictures: directions.transform(decompose(pictures))


def _known(
    source: Source, space: ClipSpace, words: Mapping[str, Sequence[str]], config: SearchConfig, stage: Stage
) -> tuple[dict[str, Tensor], FeatureScorer | None]:
    """Vectors of the features' words, and the components of features, if any are asked for."""
    with stage(f"texts in {space.spec}"):
        texts = {name: space.encode_text(list(some)).cpu() for name, some in words.items()}
    scope = config.scope
    by_directions = config.top is None and config.subspace == "texts"
    if not (scope.without or (scope.feature and not scope.components and not by_directions)):
        return texts, None
    from vitdecomp.score import FeatureScorer

    with stage("scoring") as progress:
        scorer = FeatureScorer(center="feature", bootstrap=0, shuffles=0)
        return texts, scorer.fit(source, texts, progress=progress)
