"""`vitdecomp describe`: name components by texts."""

from __future__ import annotations

import json
from functools import partial
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
def describe(  # noqa: PLR0913 - one parameter per flag
    model: Model,
    *,
    maps: Maps = None,
    clip: Clip = None,
    images: Images = None,
    texts: Annotated[str | None, typer.Option(help="general, scene, features, or a file.")] = None,
    components: Annotated[list[str] | None, typer.Option(help="Name or pattern; repeatable.")] = None,
    m: Annotated[int, typer.Option("--m", min=1, help="Texts for each component.")] = 5,
    rank: Annotated[int | None, typer.Option(min=1, help="Project the texts onto so many directions.")] = None,
    sizes: Annotated[bool, typer.Option("--sizes", help="Show what more texts and larger pools explain.")] = False,
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
    """Name every component of a model by the texts along which its contributions vary most."""
    from vitdecomp._utils.files import cache_directory
    from vitdecomp.models.image_loader import Loading
    from vitdecomp.models.prepare import ModelOptions
    from vitdecomp_alignment.align import show
    from vitdecomp_alignment.cli.describe.descriptions import Wording, described, in_words
    from vitdecomp_alignment.clip.contributions import Reading
    from vitdecomp_alignment.textspan.span_sizes import span_sizes

    options = ModelOptions(model, random_weights, checkpoint, device, dtype, seed, image_size)
    wording = Wording(Reading(images, maps, clip, by, limit), texts, tuple(components or ()))
    loading = Loading(batch_size, num_workers, skip_unreadable)
    stage = partial(progress_bar, quiet=quiet)
    worded = in_words(options, wording, cache or cache_directory(), loading=loading, stage=stage)
    with stage("choosing texts") as progress:
        rows = described(worded, m, rank, progress)
        effects = span_sizes(worded.c, worded.texts, rank=rank, random_state=seed) if sizes else []
    found = {"model": model, "clip": worded.clip, "images": len(worded.c), "pool": len(worded.labels)}
    if as_json:
        typer.echo(json.dumps(show.descriptions_json(found, rows, effects), indent=1))
    else:
        show.show_descriptions(stdout(), found, rows, effects)
