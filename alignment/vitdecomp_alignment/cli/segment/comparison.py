"""Methods for heatmaps compared: each by the same measures, on the same images with masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.progress import Stage
from vitdecomp.errors import InputError, SpecError
from vitdecomp.metrics import PROTOCOLS, Bootstrap
from vitdecomp.models.frame import MaskedPreprocess
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.masked_batches import MaskedBatch, masked_batches
from vitdecomp.models.prepare import ModelOptions, PreparedModel, prepare
from vitdecomp.models.preprocessing import Preprocess, color_of, gray_image
from vitdecomp.models.squeezed import Squeezed
from vitdecomp_alignment.cli.heatmaps.methods import MethodConfig, Methods, left_out
from vitdecomp_alignment.cli.heatmaps.traced import PathConfig, TracedModel
from vitdecomp_alignment.cli.segment.asked import AskedBatch
from vitdecomp_alignment.cli.segment.data import MaskConfig, MaskedData
from vitdecomp_alignment.cli.segment.faithful import Faithfulness
from vitdecomp_alignment.cli.segment.table import MeasureTable
from vitdecomp_alignment.cli.segment.tally import Tally
from vitdecomp_alignment.cli.segment.targets import TargetConfig, read_targets
from vitdecomp_alignment.cli.text_space import MAPS_OR_CLASS, text_space
from vitdecomp_alignment.clip.maps import MapsToClip

SCORED = 512  # images on which the components of a feature are ranked, at most
CROPPED, SQUEEZED = "the model's own resize and crop", "whole images, squeezed to the model's input"


@dataclass(frozen=True, slots=True)
class SegmentConfig:
    """Say what is measured, and how, as the command line has it.

    Raises:
        SpecError: no such protocol, or measures that cannot be had.
    """

    data: MaskConfig
    targets: TargetConfig
    maps: Path | None
    clip: str | None
    methods: MethodConfig
    paths: PathConfig
    squeeze: bool
    protocols: tuple[str, ...]
    measures: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be measured, before anything is read."""
        for name in self.protocols:
            _ = PROTOCOLS[name]
        if self.measures and (self.methods.components or self.methods.feature):
            raise SpecError("faithfulness is that of the whole score: leave out --components and --feature")
        if self.targets.predicted and self.maps is not None:
            raise SpecError("--predicted explains a class of the model, --maps lead to texts: give one of them")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Measures of all methods.

    Attributes:
        model, weights: its spec, and whether it was trained. data: the images with masks.
        explained, crop: what is explained, of which part of each image.
        images, maps: how many were measured; an image may have masks of several classes.
        skipped: what could not be read. components: that are explained, if not all.
        tables: of each protocol, and of faithfulness. bootstrap: of their intervals.
        refused: methods that have no meaning here, and why.
    """

    model: str
    weights: str
    data: MaskedData
    explained: str
    crop: str
    images: int
    maps: int
    skipped: tuple[str, ...]
    components: tuple[str, ...]
    tables: tuple[MeasureTable, ...]
    bootstrap: Bootstrap
    refused: Mapping[str, str]

    def facts(self) -> dict[str, str]:
        """Say what the tables depend on, by its name."""
        drawn, several = self.bootstrap, self.maps != self.images
        return {
            "model": f"{self.model} (weights: {self.weights})",
            "data": f"{self.data.told} ({self.data.kind})",
            "n": f"{self.maps} maps of {self.images} images" if several else f"{self.images} images",
            "explained": self.explained,
            "crop": self.crop,
            **({"components": ", ".join(self.components)} if self.components else {}),
            "tables": ", ".join(table.name for table in self.tables),
            "intervals": f"{drawn.confidence:.0%} of {drawn.replicates} bootstrap draws of images, seed {drawn.seed}",
        }

    def notes(self) -> Iterator[str]:
        """Say what is not in the tables."""
        for table in self.tables:
            yield from table.notes()
        yield from left_out(self.refused)
        if self.skipped:
            yield f"could not be read: {', '.join(self.skipped)}"


def compare(options: ModelOptions, config: SegmentConfig, cache: Path, *, loading: Loading, stage: Stage) -> Comparison:
    """Measure the maps of all methods on the same images.

    Args:
        options: the model.
        config: what to measure, and how.
        cache: folder for what can be computed again.
        loading: how images are read.
        stage: shows what is being done.

    Raises:
        SpecError: no such model, method, setting, component, feature or class; or a text that nobody reads.
        InputError: no masks, masks that do not fit, no image that can be read, or maps of another model.
    """
    methods, data = config.methods.made(options.seed), config.data.opened()
    words = config.methods.words("scenes" if config.data.masks is None else "photographs")
    maps = None if config.maps is None else MapsToClip.read(config.maps, clip=config.clip, model=options.model)
    skipped = list[str]()
    with stage(f"tracing {options.model}"):
        subject = prepare(options)
        preprocess = Squeezed(subject.preprocess) if config.squeeze else subject.preprocess
        reads = maps is not None or subject.loaded.encode_text is not None or config.methods.feature is not None
        space = text_space(subject, maps, cache, MAPS_OR_CLASS) if reads else None
        targets = read_targets(config.targets, data.classes, subject.loaded, space)
        read = partial(masked_batches, prepare=MaskedPreprocess(preprocess), loading=loading)
        batches = read(data.records, skipped=skipped)
        first = next(batches, None)
        if first is None:
            raise InputError(f"no image of {data.told} can be read")
        image = _placed(first, subject)[:1]
        traced = TracedModel.of(subject, image, config.methods, config.paths, maps=maps, space=space)
    if config.methods.feature is not None:
        with stage(f"components of {config.methods.feature}"):
            some = (_placed(batch, subject) for batch in read(data.records[:SCORED], skipped=[]))
            traced = traced.with_feature(config.methods, words, some)
    with stage("heatmaps") as progress:
        asked = AskedBatch.of(traced, targets, image, first.records[:1])
        able, refused = config.methods.able(methods, asked.maps)
        faithful = _faithfulness(config, asked, able, preprocess, loading.batch_size, options.seed)
        tally = Tally(config.protocols or (data.protocol,), tuple(able))
        for batch in chain([first], batches):
            asked = AskedBatch.of(traced, targets, _placed(batch, subject), batch.records)
            found = asked.maps(able)
            tally.add(batch, found, {} if faithful is None else faithful(asked, found))
            progress(len(tally.images) + len(skipped), len(data.records))
    bootstrap = Bootstrap(seed=options.seed)
    return Comparison(
        model=options.model,
        weights=subject.loaded.weights,
        data=data,
        explained=targets.told,
        crop=SQUEEZED if config.squeeze else CROPPED,
        images=len(set(tally.images)),
        maps=len(tally.images),
        skipped=tuple(skipped),
        components=traced.components,
        tables=tally.tables(bootstrap),
        bootstrap=bootstrap,
        refused=refused,
    )


def _placed(batch: MaskedBatch, subject: PreparedModel) -> Float[Tensor, "n c h w"]:
    """Return the images where the model is, in its number format."""
    return batch.images.to(subject.device, subject.dtype)


def _faithfulness(
    config: SegmentConfig, first: AskedBatch, methods: Methods, preprocess: Preprocess, batch_size: int, seed: int
) -> Faithfulness | None:
    if not config.measures:
        return None
    black = tuple(color_of(gray_image(preprocess, 0)).tolist())
    return Faithfulness.of(
        first.traced, methods, config.measures, first.images, fill=black, batch_size=batch_size, seed=seed
    )
