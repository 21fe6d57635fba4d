"""Heatmaps of a model's images, in batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import Tensor

from vitdecomp._utils.progress import Stage
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.datasets import Pictures, open_pictures
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import InputError, SpecError
from vitdecomp.heatmaps import Heatmaps, explain_each, explainers
from vitdecomp.heatmaps.directions import Ask
from vitdecomp.heatmaps.explainer import EXPLAINERS
from vitdecomp.heatmaps.explaining import refusals
from vitdecomp.heatmaps.sheet import HeatmapSheet
from vitdecomp.models.image_loader import Loading, load_all, name
from vitdecomp.models.prepare import ModelOptions, PreparedModel, fitted, prepare
from vitdecomp.scenes.folder import cached_scenes
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.aligners.settings import parse_setting
from vitdecomp_alignment.cli.options import Count, check_top
from vitdecomp_alignment.clip.maps import MapsToClip
from vitdecomp_alignment.clip.space import ClipSpace
from vitdecomp_alignment.texts.feature_words import read_features

logger = logging.getLogger(__name__)
WORLD = 512  # images of the embedded world, where no others are given
SCORED = 512  # images on which the components of a feature are ranked, at most
ALL = "all"
PREDICTED = "predicted class"


@dataclass(frozen=True, slots=True)
class ExplainConfig:
    """Say what is to be explained, and how, as the command line has it."""

    images: Path | None
    texts: tuple[str, ...]
    classes: tuple[str, ...]
    minus: str | None
    maps: Path | None
    clip: str | None
    methods: tuple[str, ...]
    settings: tuple[str, ...]
    components: tuple[str, ...]
    feature: str | None
    features: tuple[str, ...]
    top: Count
    shifts: int
    output: str
    through: tuple[str, ...]
    limit: int

    @property
    def asked(self) -> list[str | int]:
        """Texts and classes that the user named."""
        return [*self.texts, *(int(c) if c.isdecimal() else c for c in self.classes)]

    def made(self) -> dict[str, dict[str, Any]]:
        """Return the settings of each method.

        Raises:
            SpecError: no such method or setting.
        """
        known = explainers()
        names = known if ALL in self.methods else tuple(dict.fromkeys(self.methods))
        for each in names:
            if each not in known:
                near = did_you_mean(each, [*known, ALL]) or f"; there are {', '.join(sorted(known))}"
                raise SpecError(f"no explainer {each!r}{near}")
        takes = {each: _settings_of(each) for each in names}
        every = {setting: kind for each in takes.values() for setting, kind in each.items()}
        given = dict(parse_setting(text, every) for text in self.settings)
        return {each: {s: v for s, v in given.items() if s in takes[each]} for each in names}


def _settings_of(method: str) -> dict[str, Any]:
    hints = get_type_hints(EXPLAINERS[method].__init__)
    return {setting: kind for setting, kind in hints.items() if setting != "return"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Maps of images.

    Attributes:
        model: its spec. names: of the images. skipped: what could not be read.
        images: as the model takes them, if they are to be drawn. maps: by method.
        components: that are explained, if not all. refused: methods that have no meaning here, and why.
    """

    model: str
    names: tuple[str, ...]
    skipped: tuple[str, ...]
    images: Sequence[Tensor]
    maps: Mapping[str, Heatmaps]
    components: tuple[str, ...]
    refused: Mapping[str, str]

    def sheet(self) -> HeatmapSheet:
        """Return the maps as a page for people."""
        notes = [f"Components: {', '.join(self.components)}."] if self.components else []
        notes += list(self.refused.values())
        return HeatmapSheet(f"Heatmaps of {self.model}", self.names, self.images, self.maps, notes)


def explain_images(
    options: ModelOptions, config: ExplainConfig, cache: Path, *, loading: Loading, stage: Stage, pictures: bool
) -> Explanation:
    """Make the maps of all images.

    Args:
        options: the model.
        config: what to explain, and how.
        cache: folder for what can be computed again.
        loading: how images are read.
        stage: shows what is being done.
        pictures: keep the images, to draw them.

    Raises:
        SpecError: no such model, method, setting, component, feature or class; or a text that nobody reads.
        InputError: no images, none that can be read, or maps of another model.
    """
    methods, words = config.made(), _feature_words(config)
    place = open_pictures(config.images or cached_scenes(cache, WORLD, "test") / "test")
    maps = None if config.maps is None else MapsToClip.read(config.maps, clip=config.clip, model=options.model)
    count, skipped = min(config.limit, len(place.pictures)), list[str]()
    with stage(f"tracing {options.model}"):
        subject = prepare(options)
        space = _space(config, subject, maps, cache)
        batches = _batches(place, count, subject, loading, skipped)
        first = next(batches, None)
        if first is None:
            raise InputError(f"no image in {place.root} can be read")
        traced = _traced(config, subject, first.images[:1], None if maps is None else maps.aligner, space)
    if config.feature is not None:
        with stage(f"components of {config.feature}"):
            traced = replace(traced, components=_components_of(traced, subject, place, words, loading))
    parts, kept, names = list[dict[str, Heatmaps]](), list[Tensor](), list[str]()
    with stage("heatmaps") as progress:
        one = first.images[:1]
        tried = methods if ALL in config.methods else ()
        refused = refusals(tried, lambda method: traced.maps(one, {method: methods[method]}))
        able = {method: settings for method, settings in methods.items() if method not in refused}
        if not able:  # it is not the methods that are wrong
            raise SpecError(next(iter(refused.values())))
        for batch in chain([first], batches):
            parts.append(traced.maps(batch.images, able))
            names += batch.names
            kept += list(batch.images.cpu()) if pictures else []
            progress(len(names) + len(skipped), count)
    joined = {method: Heatmaps.joined([part[method] for part in parts]) for method in able}
    return Explanation(options.model, tuple(names), tuple(skipped), kept, joined, traced.components, refused)


@dataclass(frozen=True, slots=True)
class _Traced:
    """A traced model, and all that its maps depend on beside the images.

    Attributes:
        config: what to explain. decomposer: of the model. components: that are explained, all if there are none.
        aligner, space: maps, and whose texts are read, if they are needed.
    """

    config: ExplainConfig
    decomposer: Decomposer
    components: tuple[str, ...]
    aligner: LinearAligner | None
    space: ClipSpace | None

    def maps(self, images: Tensor, methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Heatmaps]:
        """Make the maps of a batch by some methods with their settings."""
        return explain_each(
            self.decomposer,
            images,
            _directions(self.config, self.decomposer, images),
            methods,
            components=self.components or None,
            aligner=self.aligner,
            encode_text=self.space,
            shifts=self.config.shifts,
            gap=True,
            labels=() if self.config.asked else (PREDICTED,),
        )


def _traced(
    config: ExplainConfig, subject: PreparedModel, image: Tensor, aligner: LinearAligner | None, space: ClipSpace | None
) -> _Traced:
    """Trace the model, and check that the maps are for it."""
    decomposer = Decomposer(subject.loaded, output=config.output, through=config.through or "auto")
    decomposer = fitted(decomposer.fit, image, subject)
    if aligner is not None and aligner.origin_ is not None:
        aligner.origin_.check(decomposer.origin_, "the maps are for")
    return _Traced(config, decomposer, config.components, aligner, space)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Images that were read together."""

    names: tuple[str, ...]
    images: Tensor


def _batches(
    place: Pictures, count: int, subject: PreparedModel, loading: Loading, skipped: list[str]
) -> Iterator[_Batch]:
    """Read the first images of a data set; the names of those that cannot be read are added to `skipped`."""
    pixels, names = list[Tensor](), list[str]()
    for loaded in load_all(place, range(count), subject.preprocess, loading):
        if isinstance(loaded.pixels, str):
            if not loading.skip_unreadable:
                raise InputError(loaded.pixels)
            logger.warning("left out: %s", loaded.pixels)
            skipped.append(name(place, loaded.index))
        else:
            pixels.append(loaded.pixels)
            names.append(str(place.pictures[loaded.index].id))
        if pixels and (len(pixels) == loading.batch_size or loaded.index == count - 1):
            yield _Batch(tuple(names), torch.stack(pixels).to(subject.device, subject.dtype))
            pixels, names = [], []


def _space(config: ExplainConfig, subject: PreparedModel, maps: MapsToClip | None, cache: Path) -> ClipSpace | None:
    """Return whose texts are read, if any are."""
    texts = bool(config.texts or config.feature)
    if not texts and maps is None:
        return None
    if maps is not None:
        return maps.space(device=subject.options.device, cache=cache / "texts")
    if subject.loaded.encode_text is None:
        raise SpecError(f"{subject.loaded.spec} reads no texts: give --maps, which vitdecomp align writes, or --class")
    return ClipSpace(subject.loaded, cache=cache / "texts")


def _directions(
    config: ExplainConfig, decomposer: Decomposer, images: Tensor
) -> Sequence[Ask] | Sequence[Sequence[Ask]]:
    """Return what is asked of each image: texts, classes, or the class that the model sees."""
    if config.asked:
        return [each if config.minus is None else (each, config.minus) for each in config.asked]
    classifier = decomposer.loaded_.classifier
    if classifier is None:
        raise SpecError("nothing to explain: give --text or --class")
    with torch.no_grad():
        logits = classifier.layer(decomposer.represent(images))
    return [[int(best)] if config.minus is None else [(int(best), config.minus)] for best in logits.argmax(1)]


def _feature_words(config: ExplainConfig) -> Mapping[str, Sequence[str]]:
    words = read_features(config.features, "scenes" if config.images is None else "photographs").words
    if config.feature is not None and config.feature not in words:
        raise SpecError(f"no feature {config.feature!r}{did_you_mean(config.feature, list(words))}")
    if config.feature is not None and config.components:
        raise SpecError("give --feature or --components, not both")
    return words


def _components_of(
    traced: _Traced, subject: PreparedModel, place: Pictures, words: Mapping[str, Sequence[str]], loading: Loading
) -> tuple[str, ...]:
    """Choose the components of a feature by texts, on images of the same data set."""
    from vitdecomp.contributions import Contributions
    from vitdecomp.score import FeatureScorer

    config, aligner, space = traced.config, traced.aligner, traced.space
    assert space is not None
    assert config.feature is not None
    batches = _batches(place, min(SCORED, len(place.pictures)), subject, loading, [])
    parts = (traced.decomposer.transform(batch.images, "head") for batch in batches)
    c = Contributions.joined([part if aligner is None else aligner.transform(part) for part in parts])
    check_top(config.top, c.components)
    texts = {feature: space.encode_text(list(some)).cpu() for feature, some in words.items()}
    scorer = FeatureScorer(center="feature", bootstrap=0, shuffles=0).fit(c, texts)
    return tuple(component.name for component in scorer.top(config.feature, k=config.top))
