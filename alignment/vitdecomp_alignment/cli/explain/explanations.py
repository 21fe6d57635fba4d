"""Heatmaps of a model's images, in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vitdecomp._utils.progress import Stage
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps import Heatmaps
from vitdecomp.heatmaps.directions import Ask
from vitdecomp.heatmaps.sheet import HeatmapSheet, SheetBatch, write_heatmaps
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp_alignment.cli.heatmaps.methods import MethodConfig, Methods, left_out
from vitdecomp_alignment.cli.heatmaps.traced import PathConfig, TracedModel
from vitdecomp_alignment.cli.image_batches import first_and_all, image_batches
from vitdecomp_alignment.cli.text_space import MAPS_OR_CLASS, text_space
from vitdecomp_alignment.clip.contributions import pictures
from vitdecomp_alignment.clip.maps import MapsToClip

SCORED = 512  # images on which the components of a feature are ranked, at most
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
    methods: MethodConfig
    paths: PathConfig
    limit: int

    @property
    def asked(self) -> list[str | int]:
        """Texts and classes that the user named."""
        return [*self.texts, *(int(c) if c.isdecimal() else c for c in self.classes)]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Maps of images.

    Attributes:
        model: its spec. names: of the images. skipped: what could not be read. maps: by method.
        components: that are explained, if not all. refused: methods that have no meaning here, and why.
        written: the files.
    """

    model: str
    names: tuple[str, ...]
    skipped: tuple[str, ...]
    maps: Mapping[str, Heatmaps]
    components: tuple[str, ...]
    refused: Mapping[str, str]
    written: tuple[Path, ...]


def explain_images(
    options: ModelOptions, config: ExplainConfig, cache: Path, *, loading: Loading, stage: Stage, out: Path | None
) -> Explanation:
    """Make the maps of all images, and write them as they are made.

    One batch of images is held at a time, and of all images the maps on their grids.

    Args:
        options: the model.
        config: what to explain, and how.
        cache: folder for what can be computed again.
        loading: how images are read.
        stage: shows what is being done.
        out: a page or a folder; `None` to write nothing.

    Raises:
        SpecError: no such model, method, setting, component, feature or class; or a text that nobody reads.
        InputError: no images, none that can be read, or maps of another model. OutputError: it cannot be written.
    """
    methods = config.methods.made(options.seed)
    words = config.methods.words("scenes" if config.images is None else "photographs")
    place = pictures(config.images, cache)
    maps = None if config.maps is None else MapsToClip.read(config.maps, clip=config.clip, model=options.model)
    count, skipped = min(config.limit, len(place.pictures)), list[str]()
    with stage(f"tracing {options.model}"):
        subject = prepare(options)
        reads = maps is not None or bool(config.texts or config.methods.feature)
        space = text_space(subject, maps, cache, MAPS_OR_CLASS) if reads else None
        first, batches = first_and_all(place, count, subject, loading, skipped)
        traced = TracedModel.of(subject, first.images[:1], config.methods, config.paths, maps=maps, space=space)
    if config.methods.feature is not None:
        with stage(f"components of {config.methods.feature}"):
            some = image_batches(place, min(SCORED, len(place.pictures)), subject, loading, [])
            traced = traced.with_feature(config.methods, words, (batch.images for batch in some))
    done = list[SheetBatch]()
    with stage("heatmaps") as progress:
        able, refused = config.methods.able(methods, partial(_maps, traced, config, first.images[:1]))

        def made() -> Iterator[SheetBatch]:
            for batch in batches:
                found = SheetBatch(batch.names, list(batch.images.cpu()), _maps(traced, config, batch.images, able))
                done.append(replace(found, images=()))
                yield found
                progress(sum(len(each.names) for each in done) + len(skipped), count)

        notes = [f"Components: {', '.join(traced.components)}."] if traced.components else []
        sheet = HeatmapSheet(f"Heatmaps of {options.model}", made(), [*notes, *left_out(refused)])
        if out is None:
            deque(sheet.batches, maxlen=0)
        written = () if out is None else tuple(write_heatmaps(sheet, out))
    names = tuple(name for batch in done for name in batch.names)
    joined = {method: Heatmaps.joined([batch.maps[method] for batch in done]) for method in able}
    return Explanation(options.model, names, tuple(skipped), joined, traced.components, refused, written)


def _maps(traced: TracedModel, config: ExplainConfig, images: Tensor, methods: Methods) -> dict[str, Heatmaps]:
    """Make the maps of a batch."""
    labels = () if config.asked else (PREDICTED,)
    return traced.maps(images, _directions(config, traced.decomposer, images), methods, gap=True, labels=labels)


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
