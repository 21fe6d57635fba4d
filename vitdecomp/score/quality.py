"""How good scores are: whether components with high scores rank images as CLIP does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import normalize

from vitdecomp.component import Component
from vitdecomp.errors import InputError
from vitdecomp.score.directions import check_texts
from vitdecomp.score.scorer import FeatureScorer
from vitdecomp.sources.source import Source


@dataclass(frozen=True, slots=True)
class Quality:
    """Spearman correlations of scores with how well components rank images, from -1 to 1; 0 by chance.

    Attributes:
        features: names. components: those that vary.
        agreement: how well each component ranks images by each feature's texts, `(feature, component)`: the Spearman
            correlation of <component's contribution, text> with <CLIP's vector, text>, the mean over the texts.
        between_components: for each feature, of its scores with the agreements, over components, `(feature,)`.
        between_features: for each component, of its scores with the agreements, over features, `(component,)`; NaN
            with less than two features.
    """

    features: tuple[str, ...]
    components: tuple[Component, ...]
    agreement: Float64[np.ndarray, "feature component"]
    between_components: Float64[np.ndarray, " feature"]
    between_features: Float64[np.ndarray, " component"]

    def mean(self) -> dict[str, float]:
        """Average both over features and over components."""
        return {
            "between_components": float(self.between_components.mean()),
            "between_features": float(self.between_features.mean()),
        }


def quality(
    scorer: FeatureScorer,
    source: Source,
    texts: Mapping[str, Float[Tensor, "_ d"]],
    reference: Float[Tensor, "n d"] | None = None,
    *,
    images: int = 1000,
    batch_size: int = 64,
) -> Quality:
    """Compare scores with rankings of images (arXiv 2406.01583, tables 2 and 4).

    Args:
        scorer: fitted to the features.
        source: contributions, of other images than those of `fit` if there are enough.
        texts: vectors of each feature's texts, those of `fit`.
        reference: CLIP's own vectors of the images; by default the totals, which stand in for them.
        images: no more than this many, evenly spaced; the projections of all of them are held.
        batch_size: images read at a time.

    Raises:
        InputError: other features or components than those of `fit`, shapes that do not fit, or less than three images.
        SpecError: the scorer is not fitted.
    """
    able = list(scorer._fitted().able)
    check_texts(texts, source.dimension)
    if tuple(texts) != scorer.features_ or source.components != scorer.components_:
        raise InputError("these are not the features and components of fit, in their order")
    if reference is not None and reference.shape != (len(source), source.dimension):
        raise InputError(f"the reference must be ({len(source)}, {source.dimension}), not {tuple(reference.shape)}")
    if len(source) < 3 or images < 3:
        raise InputError(f"rankings need three images at least, not {min(len(source), images)}")
    rows = np.unique(np.linspace(0, len(source) - 1, min(images, len(source))).round().astype(int)).tolist()
    words = torch.cat([*texts.values()]).detach().cpu().double()
    own, whole = _projections(source, rows, words, able, batch_size)
    if reference is not None:
        whole = reference[rows].detach().cpu().double()
    goal = _standard_ranks((normalize(whole, dim=1) @ words.T).numpy())
    found = np.stack([(_standard_ranks(own[:, i]) * goal).mean(0) for i in range(len(able))], axis=1)
    ends = np.cumsum([len(vectors) for vectors in texts.values()])[:-1]
    agreement = np.stack([part.mean(0) for part in np.split(found, ends)])
    scores = scorer.scores_[:, able]
    return Quality(
        scorer.features_,
        tuple(scorer.components_[i] for i in able),
        agreement,
        _spearman(scores.T, agreement.T),
        _spearman(scores, agreement) if len(texts) > 1 else np.full(len(able), np.nan),
    )


def _projections(
    source: Source, rows: list[int], words: Float64[Tensor, "t d"], able: list[int], size: int
) -> tuple[Float[np.ndarray, "n component t"], Float64[Tensor, "n d"]]:
    """Of every component on every text, and the totals."""
    own, whole = [], []
    for start in range(0, len(rows), size):
        values = source.take(rows[start : start + size]).values.detach().cpu().double()
        own.append((values[:, able] @ words.T).float().numpy())
        whole.append(values.sum(1))
    return np.concatenate(own), torch.cat(whole)


def _standard_ranks(values: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Ranks down each column with mean 0 and variance 1; 0 where all are equal."""
    ranks = rankdata(values, axis=0)
    ranks -= ranks.mean(0)
    spread = ranks.std(0)
    standard: Float64[np.ndarray, "n k"] = ranks / np.where(spread > 0, spread, 1)
    return standard


def _spearman(a: Float64[np.ndarray, "n k"], b: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, " k"]:
    """Return Spearman's correlation of each column of a with that of b."""
    found: Float64[np.ndarray, " k"] = (_standard_ranks(a) * _standard_ranks(b)).mean(0)
    return found
