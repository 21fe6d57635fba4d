"""`vitdecomp segment`: compare methods for heatmaps with masks of the objects."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated

from typer import Option

from vitdecomp.cli.command import command
from vitdecomp.cli.options import CachedOptions, Model, PathOptions, ResultOptions, SingleModelOptions
from vitdecomp_alignment.cli.heatmaps.options import Method, MethodOptions, Minus
from vitdecomp_alignment.cli.options import Clip, Maps

if TYPE_CHECKING:
    from vitdecomp_alignment.cli.segment.comparison import SegmentConfig


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """Choose images with masks, and what is explained of each."""

    masks: Annotated[
        Path | None,
        Option(
            help="gtsegs_ijcv.mat, OpenImages' points, Pascal VOC, ImageNet-S, PixelImageNet, or a folder with images/ "
            "and masks/; default: the embedded world."
        ),
    ] = None
    images: Annotated[Path | None, Option(help="Folder of the images, if it is not beside the masks.")] = None
    kind: Annotated[str | None, Option("--format", help="Of the masks; default: found out.")] = None
    split: Annotated[str | None, Option(help="Which part of the masks, where there are several.")] = None
    text: Annotated[
        str | None,
        Option(help="Text for the class of each mask, {}; default: a photo of a {}. Without {}: the same for all."),
    ] = None
    named: Annotated[str | None, Option("--class", help="A class for all images, by its name or number.")] = None
    predicted: Annotated[
        bool, Option("--predicted", help="Explain the class that the model predicts, not that of each mask.")
    ] = False
    minus: Minus = None
    maps: Maps = None
    clip: Clip = None


@dataclass(frozen=True, slots=True)
class ComparedOptions(MethodOptions):
    """Choose which methods are compared."""

    method: Method = ("all",)


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Choose what the tables hold, and where they are written."""

    protocol: Annotated[
        tuple[str, ...],
        Option(help="imagenet-segmentation, foreground or points; repeatable; default: that of the masks' format."),
    ] = ()
    squeeze: Annotated[
        bool, Option("--squeeze", help="Whole images, squeezed to the model's input; default: its own resize and crop.")
    ] = False
    faithfulness: Annotated[
        bool, Option("--faithfulness", help="Measure faithfulness to the score, too: all measures.")
    ] = False
    metric: Annotated[tuple[str, ...], Option(help="This measure of faithfulness alone; repeatable.")] = ()
    out: Annotated[Path | None, Option(help="Write the tables: FILE.md, FILE.csv or FILE.json.")] = None


@command
def segment(
    model: Model,
    *,
    data: MaskOptions,
    methods: ComparedOptions,
    tables: TableOptions,
    paths: PathOptions,
    loading: SingleModelOptions,
    reading: CachedOptions,
    result: ResultOptions,
) -> None:
    """Compare methods for heatmaps: do they lie on the object, and are they faithful to the score?"""
    from vitdecomp_alignment.cli.segment.comparison import compare
    from vitdecomp_alignment.cli.segment.file import check_table_place, write_table
    from vitdecomp_alignment.cli.segment.show import comparison_json, show_comparison

    out = tables.out
    if out is not None:
        check_table_place(out)
    config = _config(data, methods, tables, paths, reading.limit)
    found = compare(loading.of(model), config, reading.folder, loading=reading.loading, stage=result.stage)
    if out is not None:
        write_table(found, out, join(["vitdecomp", *sys.argv[1:]]))
    result.show(comparison_json(found, out), lambda console: show_comparison(console, found, out))


def _config(
    data: MaskOptions, methods: ComparedOptions, tables: TableOptions, paths: PathOptions, limit: int | None
) -> SegmentConfig:
    from vitdecomp_alignment.cli.heatmaps.traced import PathConfig
    from vitdecomp_alignment.cli.segment.comparison import SegmentConfig
    from vitdecomp_alignment.cli.segment.data import MaskConfig
    from vitdecomp_alignment.cli.segment.faithful import chosen_measures
    from vitdecomp_alignment.cli.segment.targets import TargetConfig

    return SegmentConfig(
        data=MaskConfig(data.masks, data.images, data.kind, data.split, limit),
        targets=TargetConfig(data.text, data.named, data.minus, data.predicted),
        maps=data.maps,
        clip=data.clip,
        methods=methods.config,
        paths=PathConfig(paths.output, paths.through),
        squeeze=tables.squeeze,
        protocols=tables.protocol,
        measures=chosen_measures(tables.metric, tables.faithfulness),
    )
