"""What `vitdecomp rank` does: components in the order of their scores for features that are told by texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitdecomp._utils.progress import Stage
from vitdecomp.component import CONSTANT_KIND, Component
from vitdecomp.errors import InputError, SpecError
from vitdecomp.extract import REPRESENTATION, ExtractConfig, cached
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.scenes.folder import kept
from vitdecomp.score import FeatureScorer, Quality, quality
from vitdecomp.score.choice import check_way
from vitdecomp_alignment.cli.count import Count
from vitdecomp_alignment.clip.contributions import WORLD, InClip, Reading, in_clip
from vitdecomp_alignment.texts.feature_words import Asked, asked


@dataclass(frozen=True, slots=True)
class Asking:
    """What to rank, and how.

    Attributes:
        reading: which contributions. scorer: not fitted yet.
        features: as for `feature_words.asked`.
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
class Ranked:
    """Scores of a model's components.

    Attributes:
        model, clip: their specs. images: how many.
        asked: the features. scorer: fitted to them. chosen: the components of each feature that was asked for.
        quality: how scores agree with rankings of images, if that was asked for.
    """

    model: str
    clip: str
    images: int
    asked: Asked
    scorer: FeatureScorer
    chosen: Mapping[str, tuple[Component, ...]]
    quality: Quality | None

    def rows(self, feature: str) -> list[dict[str, Any]]:
        """What is known of the components of a feature."""
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
            "settings": self.scorer.get_params(),
            "features": {
                name: {"words": list(self.asked.words[name]), "components": self.rows(name)} for name in self.chosen
            },
            "compared_with": [name for name in self.asked.words if name not in self.chosen],
            "quality": None if self.quality is None else _quality(self.quality),
        }


def rank(options: ModelOptions, asking: Asking, cache: Path, *, loading: Loading, stage: Stage) -> Ranked:
    """Score a model's components for features.

    Raises:
        InputError: no images, words or maps, or maps of another model.
        SpecError: no such model, feature or setting, or a model without texts and no maps.
        OutputError: the cache cannot be written.
    """
    asking.scorer.check()
    check_way(asking.by)
    features = asked(asking.features, "photographs" if asking.reading.images else "scenes")
    found = in_clip(options, asking.reading, cache, loading=loading, stage=stage, check=partial(_check_k, asking.k))
    with stage(f"texts in {found.space.spec}"):
        texts = {name: found.space.encode_text(words).cpu() for name, words in features.words.items()}
    with stage("scoring") as progress:
        scorer = asking.scorer.fit(found.source, texts, progress=progress)
    chosen = {name: scorer.top(name, asking.k, by=asking.by) for name in features.shown}
    told = None
    if asking.quality:
        reference = None if found.aligner is None else _vectors(found, options, asking.reading, cache, loading, stage)
        told = quality(scorer, found.source, texts, reference)
    return Ranked(options.model, found.space.spec, len(found.store), features, scorer, chosen, told)


def _check_k(k: Count, components: Sequence[Component]) -> None:
    """Refuse more components than there are, where they are known before any image is read."""
    able = sum(component.kind != CONSTANT_KIND for component in components)
    if k != "auto" and k > able:
        raise SpecError(
            f"k = {k} components of a feature, but there are {able} that can vary: give 1 to {able}, or 'auto'"
        )


def _vectors(
    found: InClip, options: ModelOptions, reading: Reading, cache: Path, loading: Loading, stage: Stage
) -> Tensor:
    """CLIP's own vectors of the same images."""
    with stage(f"vectors of {found.space.spec}") as progress:
        seen = ExtractConfig(reading.images or kept(cache, WORLD, "test") / "test", REPRESENTATION, limit=reading.limit)
        seer = prepare(ModelOptions(found.space.spec, device=options.device))
        vectors = cached(seer, seen, cache, loading=loading, progress=progress)
    if vectors.ids != found.store.ids:
        raise InputError(
            f"{options.model} and {found.space.spec} could not read the same images: leave out the broken ones"
        )
    return torch.cat([batch.total() for batch in vectors.batches(256)])


def _quality(told: Quality) -> dict[str, Any]:
    return {
        **{name: _plain(value) for name, value in told.mean().items()},
        "features": {name: _plain(v) for name, v in zip(told.features, told.between_components, strict=True)},
        "components": {c.name: _plain(v) for c, v in zip(told.components, told.between_features, strict=True)},
    }


def _plain(value: float | np.floating[Any]) -> float | None:
    """A number as JSON has it, which knows no NaN."""
    return None if isnan(value) else float(value)
