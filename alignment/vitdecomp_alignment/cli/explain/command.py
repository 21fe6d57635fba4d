"""`vitdecomp explain`: show where in images a text or a class is seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from vitdecomp.cli.command import command
from vitdecomp.cli.options import CachedOptions, Model, PathOptions, ResultOptions, SingleModelOptions
from vitdecomp_alignment.cli.heatmaps.options import MethodOptions, Minus
from vitdecomp_alignment.cli.options import Clip, Maps, Texts

if TYPE_CHECKING:
    from vitdecomp_alignment.cli.explain.explanations import ExplainConfig

SHOWN = 16  # images by default


@dataclass(frozen=True, slots=True)
class DirectionOptions:
    """Choose which scores of which images are explained."""

    images: Annotated[
        Path | None, Option(help="An image, a folder or another data set; default: the embedded world.")
    ] = None
    text: Texts = ()
    classes: Annotated[
        tuple[str, ...],
        Option("--class", help="A class by its name or number; repeatable; default: the predicted one."),
    ] = ()
    minus: Minus = None
    maps: Maps = None
    clip: Clip = None


@command
def explain(
    model: Model,
    *,
    directions: DirectionOptions,
    methods: MethodOptions,
    paths: PathOptions,
    out: Annotated[Path | None, Option(help="Write FILE.html; or DIR/ with PNG files and maps.safetensors.")] = None,
    loading: SingleModelOptions,
    reading: CachedOptions,
    result: ResultOptions,
) -> None:
    """Show where in images a text or a class is seen, by any of the methods for heatmaps."""
    from vitdecomp.heatmaps.sheet import check_heatmaps_place
    from vitdecomp_alignment.cli.explain.explanations import explain_images
    from vitdecomp_alignment.cli.explain.show import explanation_json, show_explanation

    if out is not None:
        check_heatmaps_place(out)
    config = _config(directions, methods, paths, reading.limit or SHOWN)
    found = explain_images(
        loading.of(model), config, reading.folder, loading=reading.loading, stage=result.stage, out=out
    )
    result.show(explanation_json(found), lambda console: show_explanation(console, found))


def _config(directions: DirectionOptions, methods: MethodOptions, paths: PathOptions, limit: int) -> ExplainConfig:
    from vitdecomp_alignment.cli.explain.explanations import ExplainConfig
    from vitdecomp_alignment.cli.heatmaps.traced import PathConfig

    return ExplainConfig(
        directions.images,
        directions.text,
        directions.classes,
        directions.minus,
        directions.maps,
        directions.clip,
        methods.config,
        PathConfig(paths.output, paths.through),
        limit,
    )
