"""Retriever: the images that are like a text or like other images, in all that they show or in one feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp._utils.files import cache_directory
from vitdecomp._utils.progress import Progress
from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.summary import kinds, summary
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.models.loaded_model import EncodeText, TextEncoder, as_encoder
from vitdecomp.retrieval.feature_view import FeatureView
from vitdecomp.retrieval.hit import Hit, Named
from vitdecomp.retrieval.nearest import Nearest
from vitdecomp.retrieval.norms import NormCache
from vitdecomp.retrieval.query import Decompose, Query, Reference
from vitdecomp.retrieval.scope import SUBSPACES, Chooser, Ranking, Scope
from vitdecomp.retrieval.space import Space
from vitdecomp.sources.aligner import Aligner
from vitdecomp.sources.source import Columns

BLOCK = 2**15  # images read at a time: 8 MiB of one head's coefficients


class Retriever:
    """Searches images by the contributions of some components, exactly and without writing these out.

    What they add up to in a scope is kept where it is smaller than they are, for the next search there.

    A query is pulled back through each component's map into the component's own coordinates:
    <q, sum_i W_i^T B_i a_i> = sum_i <B_i^T W_i q, a_i>. See docs/mathematics.md.

    Args:
        source: contributions, read by columns: in memory or on disk.
        aligner: a linear one, for cosines in CLIP's space; by default they are taken in the model's own.
        scorer: knows which components stand for a feature, such as a fitted `FeatureScorer`.
        texts: vectors of each feature's texts in the space, `(text, d)`, for `subspace` and to center texts.
        encode_text: gives texts vectors in the space: a function, or an object with such a method.
        decompose: PIL images to the model's contributions, for references that are not in the source.
        top: how many components a feature has, if there are so many; `"auto"` leaves it to the scorer. By default all
            count for the feature that is asked for where `subspace` compares along its texts, and 12 otherwise.
        center: take the mean over the source off the features, and the mean of the known texts off texts.
        subspace: `"whole"`, or `"texts"`: compare along those directions only in which a feature's texts differ, and
            not along those of features that are left out.
        paths: the images' files, if the source does not know them.
        cache: folder of the norm cache; by default one in the standard cache (`VITDECOMP_CACHE`) if that can be
            written to, or none for contributions in memory.
        block: images read at a time.

    Raises:
        SpecError: a setting that means nothing.
        InputError: no images, or an aligner of another model.

    References:
        Retrieval by the components of a feature: Balasubramanian et al., arXiv 2406.01583.
    """

    def __init__(  # noqa: PLR0913 - one for each setting
        self,
        source: Columns,
        *,
        aligner: Aligner | None = None,
        scorer: Ranking | None = None,
        texts: Mapping[str, Float[Tensor, "_ d"]] | None = None,
        encode_text: EncodeText | TextEncoder | None = None,
        decompose: Decompose | None = None,
        top: int | Literal["auto"] | None = None,
        center: bool = True,
        subspace: str = "whole",
        paths: Sequence[Path | str] | None = None,
        cache: Path | str | None = None,
        block: int = BLOCK,
    ) -> None:
        if subspace not in SUBSPACES:
            raise SpecError(f"no subspace {subspace!r}{did_you_mean(subspace, SUBSPACES)}")
        if (isinstance(top, int) and top < 1) or block < 1:
            raise SpecError(f"top = {top} and block = {block} must be positive")
        self.source, self.center, self.block = source, center, block
        self.space = Space(source, aligner)
        self.chooser = Chooser(self.space, scorer, _checked(texts or {}, self.space.dimension), top, subspace)
        self.encode_text = as_encoder(encode_text)
        self.decompose = decompose
        self._paths = None if paths is None else tuple(map(Path, paths))
        if self._paths is not None and len(self._paths) != len(source):
            raise InputError(f"{len(self._paths)} paths for {len(source)} images")
        self._views: dict[Scope, tuple[FeatureView, str]] = {}
        self._norms = NormCache(source, center, _folder(source) if cache is None else Path(cache), block)

    def __repr__(self) -> str:
        own = "that of the model" if self.space.aligner is None else f"that of a {type(self.space.aligner).__name__}"
        told = {
            "components": f"{len(self.space.components):,} ({kinds(self.space.components)})",
            "space": f"{own}, {self.space.dimension:,} dimensions",
            "features": ", ".join(self.chooser.texts) or None,
        }
        return summary(f"Retriever: {len(self.source):,} images", told)

    def search(  # noqa: PLR0913 - one for each way to ask
        self,
        *,
        text: str | Sequence[str] = (),
        image: Reference | Sequence[Reference] = (),
        vector: Float[Tensor, "... d"] | None = None,
        negative: Query | str | None = None,
        weight: float = 1.0,
        combine: str = "mean",
        feature: str | None = None,
        components: str | Sequence[str] = (),
        without: str | Sequence[str] = (),
        k: int = 10,
        progress: Progress | None = None,
    ) -> tuple[Hit, ...]:
        """Find the k images that are most like one query, the best first; equals in the order of their rows.

        Args:
            text: one, or several.
            image: a row of the source, a file, a PIL image or contributions; or several of them.
            vector: features of images in the space.
            negative: what hits should not be like: a text, or a `Query`.
            weight: of the negative.
            combine: `mean` or `best`, as for `Query`.
            feature: what images should share.
            components: names or patterns, instead of those of the feature.
            without: features whose components are left out.
            k: how many images.
            progress: called while the norms of a new choice of components are computed.

        Raises:
            SpecError: no such feature or component, nothing to look for, or no encoder for it.
            InputError: a vector of another length, NaN, an image that cannot be read, or k images that are not there.
        """
        query = Query(text, image, vector, negative, weight, combine)
        scope = Scope(feature, _several(components), _several(without))
        return self.search_many([query], scope, k=k, progress=progress)[0]

    def search_many(
        self, queries: Sequence[Query], scope: Scope | None = None, *, k: int = 10, progress: Progress | None = None
    ) -> tuple[tuple[Hit, ...], ...]:
        """Do the same for several queries, in one pass over the images.

        Raises:
            InputError, SpecError: as for `search`.
        """
        scores, rows = self.nearest(queries, scope, k=k, progress=progress)
        known = self._names(sorted(set(rows.flatten().tolist())))
        return tuple(
            tuple(Hit(row, *known[row], score) for row, score in zip(*found, strict=True))
            for found in zip(rows.tolist(), scores.tolist(), strict=True)
        )

    def nearest(
        self, queries: Sequence[Query], scope: Scope | None = None, *, k: int = 10, progress: Progress | None = None
    ) -> tuple[Float[Tensor, "query k"], Int64[Tensor, "query k"]]:
        """Scores and rows of the k best images for each query, `(query, k)`.

        Raises:
            InputError, SpecError: as for `search`.
        """
        n = len(self.source)
        if not 1 <= k <= n:
            raise InputError(f"k = {k}, but there are {n} images")
        view = self.view(scope or Scope(), progress)
        directions = view.directions(queries)
        best = Nearest(len(directions), k, view.dtype)
        if directions:
            ends = np.cumsum([len(one) for one in directions]).tolist()
            parts = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
            for rows, scores in view.scan_scores(torch.cat(directions), self.block):
                best.add(torch.stack([scores[part].amax(0) for part in parts]), rows.start)
        return best.scores, best.rows

    def view(self, scope: Scope, progress: Progress | None = None) -> FeatureView:
        """Return the feature view of a scope, with its norms, ready for any number of queries.

        Raises:
            InputError, SpecError: as for `search`.
        """
        if scope not in self._views:
            view = FeatureView.of(
                self.space,
                self.chooser.components(scope),
                self.chooser.directions(scope),
                text_mean=self.chooser.center(scope) if self.center else None,
                encode_text=self.encode_text,
                decompose=self.decompose,
            )
            self._views[scope] = view, view.fingerprint()
        view, key = self._views[scope]
        return view.with_norms(self._norms.of(view, key, progress))

    def _names(self, rows: Sequence[int]) -> dict[int, tuple[str, Path | None]]:
        """Name some images and their files, as far as that is known."""
        found: dict[int, tuple[str, Path | None]] = {row: (str(row), None) for row in rows}
        if isinstance(self.source, Named) and rows:
            found = dict(zip(rows, self.source.names(rows), strict=True))
        elif self._paths is not None:
            found = {row: (str(self._paths[row]), None) for row in rows}
        if self._paths is not None:
            found = {row: (name, self._paths[row]) for row, (name, _) in found.items()}
        return found


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _checked(texts: Mapping[str, Tensor], d: int) -> Mapping[str, Tensor]:
    for feature, vectors in texts.items():
        if vectors.ndim != 2 or vectors.shape[1] != d or not len(vectors):
            raise InputError(f"texts of {feature!r} must be vectors (text, {d}), not {tuple(vectors.shape)}")
        if not bool(vectors.isfinite().all()):
            raise InputError(f"texts of {feature!r} hold NaN or infinity")
    return texts


def _folder(source: Columns) -> Path | None:
    """Return the default folder of the norm cache: not beside a store, which may be elsewhere or read-only."""
    if isinstance(source, Contributions):
        return None
    return cache_directory() / "lengths"
