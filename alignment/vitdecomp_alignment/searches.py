"""What `vitdecomp search` does: the images of a folder that are like a text or like other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from vitdecomp.contributions import Contributions
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError
from vitdecomp.extract import parse_by
from vitdecomp.images import open_image
from vitdecomp.loading import Loading
from vitdecomp.prepare import Ready, Request, fitted
from vitdecomp.progress import Stage
from vitdecomp.registry import did_you_mean
from vitdecomp.retrieval import Hit, Query, Retriever, Scope
from vitdecomp.retrieval.scope import SUBSPACES
from vitdecomp.score import FeatureScorer
from vitdecomp.source import Columns, Source
from vitdecomp_alignment.feature_words import asked
from vitdecomp_alignment.in_clip import InClip, Reading, in_clip
from vitdecomp_alignment.rankings import Count

BATCH = 256  # images read at a time


@dataclass(frozen=True, slots=True)
class Searching:
    """What to look for, and where.

    Attributes:
        reading: which contributions. query: what to look for. scope: which components.
        features: words of features, as for `feature_words.asked`. top, subspace, center: as for `Retriever`.
        k: how many images.
    """

    reading: Reading
    query: Query
    scope: Scope = field(default_factory=Scope)
    features: tuple[str, ...] = ()
    top: Count | None = None
    subspace: str = "texts"
    center: bool = True
    k: int = 10


@dataclass(frozen=True, slots=True)
class Searched:
    """What was found.

    Attributes:
        model, clip: their specs. images: how many were searched.
        query, scope: what was looked for. components: by their names. hits: the best first.
    """

    model: str
    clip: str
    images: int
    query: Query
    scope: Scope
    components: tuple[str, ...]
    hits: tuple[Hit, ...]

    @property
    def title(self) -> str:
        """Where was searched."""
        return f"{self.images:,} images by {len(self.components)} components of {self.model}"

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

    def references(self) -> list[Image.Image]:
        """The images that were looked for."""
        return [open_image(Path(image)) for image in self.query.images if isinstance(image, (str, Path))]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        against = [] if self.query.against is None else list(self.query.against.texts)
        return {
            "model": self.model,
            "clip": self.clip,
            "images": self.images,
            "texts": list(self.query.texts),
            "references": [str(image) for image in self.query.images],
            "negative": against,
            "feature": self.scope.feature,
            "without": list(self.scope.without),
            "components": list(self.components),
            "hits": [hit.to_json() for hit in self.hits],
        }


def search(request: Request, searching: Searching, cache: Path, *, loading: Loading, stage: Stage) -> Searched:
    """Search images.

    Raises:
        InputError: no images or maps, maps of another model, or an image that cannot be read.
        SpecError: no such model, feature, component or setting, or a model without texts and no maps.
        OutputError: the cache cannot be written.
    """
    own = searching.reading.images or searching.reading.store
    words = asked(searching.features, "photographs" if own else "scenes").words
    check(searching, words)
    found = in_clip(request, searching.reading, cache, loading=loading, stage=stage)
    texts, scorer = _known(found, words, searching, stage)
    retriever = Retriever(
        by_columns(found.store),
        aligner=found.aligner,
        scorer=scorer,
        texts=texts,
        encode_text=lambda some: found.space.encode_text(some).cpu(),
        decompose=taken_apart(found.subject, found.store.header.by),
        top=searching.top,
        center=searching.center,
        subspace=searching.subspace,
        cache=cache / "lengths",
    )
    with stage("searching") as progress:
        hits = retriever.search_many([searching.query], searching.scope, k=searching.k, progress=progress)[0]
    components = tuple(c.name for c in retriever.sight(searching.scope).components)
    images = len(found.store)
    return Searched(request.model, found.space.spec, images, searching.query, searching.scope, components, hits)


def check(searching: Searching, words: Mapping[str, Sequence[str]]) -> None:
    """Raise an error for what could not be searched for, before a model is loaded for nothing.

    Raises:
        SpecError: no such feature or subspace.
        InputError: a reference that cannot be read.
    """
    tables = [("feature", name, list(words)) for name in searching.scope.features]
    tables.append(("subspace", searching.subspace, list(SUBSPACES)))
    for noun, name, known in tables:
        if name not in known:
            raise SpecError(f"no {noun} {name!r}{did_you_mean(name, known)}")
    for image in searching.query.images:
        if isinstance(image, (str, Path)):
            open_image(Path(image))


def by_columns(source: Source) -> Columns:
    """The source itself if it can be read by columns, else its contributions in memory."""
    if isinstance(source, Columns):
        return source
    n = len(source)
    return Contributions.joined([source.take(range(i, min(i + BATCH, n))) for i in range(0, n, BATCH)])


def taken_apart(ready: Ready, by: str) -> Callable[[Sequence[Image.Image]], Contributions]:
    """A model's contributions to pictures; it is traced when the first of them comes."""
    traced: list[Decomposer] = []

    def decompose(pictures: Sequence[Image.Image]) -> Contributions:
        batch = ready.batch(pictures)
        if not traced:
            traced.append(fitted(Decomposer(ready.loaded, by=parse_by(by) or "head"), batch[:1], ready.request))
        return traced[0].transform(batch)

    return decompose


def _known(
    found: InClip, words: Mapping[str, Sequence[str]], searching: Searching, stage: Stage
) -> tuple[dict[str, Tensor], FeatureScorer | None]:
    """Vectors of the features' words, and the components of features, if any are asked for."""
    with stage(f"texts in {found.space.spec}"):
        texts = {name: found.space.encode_text(list(some)).cpu() for name, some in words.items()}
    scope = searching.scope
    by_directions = searching.top is None and searching.subspace == "texts"
    if not (scope.without or (scope.feature and not scope.components and not by_directions)):
        return texts, None
    with stage("scoring") as progress:
        scorer = FeatureScorer(centre="feature", bootstrap=0, shuffles=0)
        return texts, scorer.fit(found.source, texts, progress=progress)
