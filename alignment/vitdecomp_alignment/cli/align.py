"""`vitdecomp align`: fit maps into CLIP's space."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vitdecomp._utils.console import progress_bar, stdout
from vitdecomp.cli.flags import (
    Address,
    BatchSize,
    Cache,
    Checkpoint,
    Device,
    Dtype,
    Engine,
    ImageSize,
    Json,
    Limit,
    Model,
    NumWorkers,
    Output,
    Quiet,
    RandomWeights,
    Seed,
    SkipUnreadable,
    Through,
)
from vitdecomp.cli.terminal import verb
from vitdecomp_alignment.cli.flags import By


@verb
def align(  # noqa: PLR0913 - one parameter per flag
    model: Model,
    *,
    clip: Annotated[str, typer.Option(help="The model whose space the contributions are taken to.")],
    out: Annotated[Path, typer.Option(help="File for the maps, such as maps.safetensors.")],
    images: Annotated[Path | None, typer.Option(help="Folder of images to learn from.")] = None,
    store: Annotated[
        str | None, typer.Option(help="What `extract` wrote; images are needed for CLIP's vectors, if it has none.")
    ] = None,
    method: Annotated[str, typer.Option(help="compalign, closed-form, linear, or a plugin's.")] = "compalign",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="An argument of the method, such as epochs=1; repeatable.")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Judge all methods, with controls.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions in the report.")] = 3,
    by: By = "head",
    output: Output = "embedding",
    through: Through = None,
    random_weights: RandomWeights = False,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    dtype: Dtype = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    batch_size: BatchSize = 32,
    num_workers: NumWorkers = 0,
    limit: Limit = None,
    skip_unreadable: SkipUnreadable = False,
    cache: Cache = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on with an interrupted training.")] = True,
    engine: Engine = "local",
    address: Address = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit linear maps that take a model's contributions into CLIP's space, so that texts can name them."""
    from vitdecomp._utils.files import cache_directory
    from vitdecomp.extract import ExtractConfig
    from vitdecomp.models.image_loader import Loading
    from vitdecomp.models.prepare import ModelOptions
    from vitdecomp_alignment.align import show
    from vitdecomp_alignment.align.engines import engine as engine_of
    from vitdecomp_alignment.align.job import Job
    from vitdecomp_alignment.align.pairs import Pairing

    taken = tuple(through) if through else None
    pictures = None if images is None else ExtractConfig(images, by, output, taken, limit=limit)
    subject = ModelOptions(model, random_weights, checkpoint, device, dtype, seed, image_size)
    pairing = Pairing(subject, ModelOptions(clip, device=device), cache or cache_directory(), pictures, store)
    loading, repeated = Loading(batch_size, num_workers, skip_unreadable), seeds if report else 0
    job = Job(pairing, loading, out, method, tuple(settings or ()), seed, resume, repeated)
    done = engine_of(engine)(job, partial(progress_bar, quiet=quiet), address)
    if done is None:
        return
    if as_json:
        shown = {"seconds": done.seconds, "report": [table.to_json() for table in done.tables]}
        typer.echo(json.dumps({**done.summary, **shown}, indent=1))
    else:
        show.show_alignment(stdout(), done.summary, done.seconds, done.tables)
