"""Components in the order of their scores for features, which texts define."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitdecomp._utils.progress import Stage
from vitdecomp.component import Component
from vitdecomp.errors import InputError
from vitdecomp.extract import REPRESENTATION, ExtractConfig, cached
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.scenes.folder import cached_scenes
from vitdecomp.score import FeatureScorer, Quality, quality
from vitdecomp.score.choice import check_way
from vitdecomp_alignment.cli.options import Count, check_top
from vitdecomp_alignment.clip.contributions import WORLD, InClip, Reading, in_clip
from vitdecomp_alignment.texts.feature_words import ChosenFeatures, read_features


@dataclass(frozen=True, slots=True)
class RankConfig:
    """What to rank, and how.

    Attributes:
        reading: which contributions. scorer: not fitted yet.
        features: as for `feature_words.read_features`.
        k: components of each feature. by: as for `FeatureScorer.top`.
        quality: whether scores are compared with rankings of images too.
    """

    reading: Reading
    scorer: FeatureScorer
    features: tuple[str, ...] = ()
    k: Count = 8
    by: str = "margin"
    quality: bool = False


@dataclass(frozen=True, slots=True)
class RankResult:
    """Scores of a model's components.

    Attributes:
        model, clip: their specs. images: how many. skipped: names of those that cannot be read.
        words: of the features. scorer: fitted to them. chosen: the components of each feature that was asked for.
        quality: how scores agree with rankings of images, if that was asked for.
    """

    model: str
    clip: str
    images: int
    words: ChosenFeatures
    scorer: FeatureScorer
    chosen: Mapping[str, tuple[Component, ...]]
    quality: Quality | None
    skipped: tuple[str, ...] = ()

    def rows(self, feature: str) -> list[dict[str, Any]]:
        """Return what is known of the components of a feature."""
        row, place = self.scorer.features_.index(feature), {c: i for i, c in enumerate(self.scorer.components_)}
        tables = {"score": self.scorer.scores_, "margin": self.scorer.margins_, "chance": self.scorer.chance_}
        return [
            {
                "component": component.name,
                **{name: _plain(table[row, place[component]]) for name, table in tables.items()},
                "interval": [_plain(end) for end in self.scorer.interval_[row, place[component]]],
                "p_value": _plain(self.scorer.p_value_[row, place[component]]),
            }
            for component in self.chosen[feature]
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": self.model,
            "clip": self.clip,
            "images": self.images,
            "skipped": list(self.skipped),
            "settings": self.scorer.get_params(),
            "features": {
                name: {"words": list(self.words.words[name]), "components": self.rows(name)} for name in self.chosen
            },
            "compared_with": [name for name in self.words.words if name not in self.chosen],
            "quality": None if self.quality is None else _quality(self.quality),
        }


def rank(options: ModelOptions, config: RankConfig, cache: Path, *, loading: Loading, stage: Stage) -> RankResult:
    """Score a model's components for features.

    Raises:
        InputError: no images, words or maps, or maps of another model.
        SpecError: no such model, feature or setting, or a model without texts and no maps.
        OutputError: the cache cannot be written.
    """
    config.scorer.check()
    check_way(config.by)
    features = read_features(config.features, config.reading.usual_features)
    found = in_clip(options, config.reading, cache, loading=loading, stage=stage, check=partial(check_top, config.k))
    if found.aligner is not None:
        found.aligner.advise("alone")
    with stage(f"texts in {found.space.spec}"):
        texts = {name: found.space.encode_text(words).cpu() for name, words in features.words.items()}
    with stage("scoring") as progress:
        source = found.source
        scorer = config.scorer.fit(source, texts, progress=progress)
    chosen = {name: scorer.top(name, config.k, by=config.by) for name in features.shown}
    agreement = None
    if config.quality:
        reference = None if found.aligner is None else _vectors(found, options, config.reading, cache, loading, stage)
        agreement = quality(scorer, source, texts, reference)
    return RankResult(
        options.model, found.space.spec, len(found.store), features, scorer, chosen, agreement, found.skipped
    )


def _vectors(
    found: InClip, options: ModelOptions, reading: Reading, cache: Path, loading: Loading, stage: Stage
) -> Tensor:
    """Return CLIP's own vectors of the same images."""
    if reading.store is not None:
        return found.store.vectors(found.space.spec)[0]
    with stage(f"vectors of {found.space.spec}") as progress:
        seen = ExtractConfig(
            reading.images or cached_scenes(cache, WORLD, "test") / "test", REPRESENTATION, limit=reading.limit
        )
        seer = prepare(ModelOptions(found.space.spec, device=options.device))
        vectors = cached(seer, seen, cache, loading=loading, progress=progress)
    if vectors.ids != found.store.ids:
        raise InputError(
            f"{options.model} and {found.space.spec} read different images: remove those that cannot be read"
        )
    return torch.cat([batch.total() for batch in vectors.batches(256)])


def _quality(agreement: Quality) -> dict[str, Any]:
    by_feature, by_component = agreement.between_components, agreement.between_features
    return {
        **{name: _plain(value) for name, value in agreement.mean().items()},
        "features": {name: _plain(value) for name, value in zip(agreement.features, by_feature, strict=True)},
        "components": {c.name: _plain(value) for c, value in zip(agreement.components, by_component, strict=True)},
    }


def _plain(value: float | np.floating[Any]) -> float | None:
    """Return a number as JSON has it, which knows no NaN."""
    return None if isnan(value) else float(value)
