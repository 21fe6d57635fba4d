"""`vitdecomp rank`: order components by what they carry of a feature."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vitdecomp._utils.console import progress_bar, stdout
from vitdecomp.cli.flags import (
    BatchSize,
    Cache,
    Checkpoint,
    Device,
    Dtype,
    ImageSize,
    Json,
    Limit,
    Model,
    NumWorkers,
    Quiet,
    RandomWeights,
    Seed,
    SkipUnreadable,
)
from vitdecomp.cli.terminal import verb
from vitdecomp_alignment.cli.flags import By, Clip, Images, Maps


@verb
def rank(  # noqa: PLR0913 - one parameter per flag
    model: Model,
    *,
    features: Annotated[
        list[str] | None,
        typer.Option(help="Name, NAME=WORD,WORD, FILE.json, or photographs or scenes for a set; repeatable."),
    ] = None,
    maps: Maps = None,
    clip: Clip = None,
    images: Images = None,
    k: Annotated[str, typer.Option("--k", help="Components for each feature: a number, or auto.")] = "8",
    choose: Annotated[str, typer.Option(help="margin over other features, or agreement of their sum.")] = "margin",
    centre: Annotated[str, typer.Option(help="Take from texts the mean of: none, feature or pool.")] = "none",
    measure: Annotated[str, typer.Option(help="mean of correlations, or pooled.")] = "mean",
    figure: Annotated[Path | None, typer.Option(help="Write a heat map of all scores to FILE.png.")] = None,
    quality: Annotated[bool, typer.Option("--quality", help="Compare scores with rankings of images.")] = False,
    by: By = "head",
    random_weights: RandomWeights = False,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    dtype: Dtype = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    batch_size: BatchSize = 32,
    num_workers: NumWorkers = 0,
    limit: Limit = 1000,
    skip_unreadable: SkipUnreadable = False,
    cache: Cache = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Order the components of a model by how much they carry of features, such as colour or location."""
    from vitdecomp._utils.files import cache_directory
    from vitdecomp.models.image_loader import Loading
    from vitdecomp.models.prepare import ModelOptions
    from vitdecomp.score import FeatureScorer, check_figure_file, heat_map, write_figure
    from vitdecomp_alignment.cli.count import count
    from vitdecomp_alignment.cli.rank import rankings
    from vitdecomp_alignment.cli.rank.show import show_ranking
    from vitdecomp_alignment.clip.contributions import Reading

    if figure is not None:
        check_figure_file(figure)
    options = ModelOptions(model, random_weights, checkpoint, device, dtype, seed, image_size)
    scorer = FeatureScorer(centre=centre, measure=measure, random_state=seed)
    reading = Reading(images, maps, clip, by, limit)
    asking = rankings.Asking(reading, scorer, tuple(features or ()), count(k), choose, quality)
    loading = Loading(batch_size, num_workers, skip_unreadable)
    stage = partial(progress_bar, quiet=quiet)
    ranked = rankings.rank(options, asking, cache or cache_directory(), loading=loading, stage=stage)
    if figure is not None:
        write_figure(heat_map(ranked.scorer, ranked.chosen), figure)
    if as_json:
        typer.echo(json.dumps(ranked.to_json(), indent=1))
    else:
        show_ranking(stdout(), ranked)
