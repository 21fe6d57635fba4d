"""`vitdecomp align`: fit maps into CLIP's space."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vitdecomp.flags import (
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
    Output,
    Quiet,
    RandomWeights,
    Seed,
    SkipUnreadable,
    Through,
)
from vitdecomp.terminal import progress_bar, stdout, verb
from vitdecomp_alignment.verbs.flags import By


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
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit linear maps that take a model's contributions into CLIP's space, so that texts can name them."""
    from vitdecomp.extract import Extraction
    from vitdecomp.files import cache_directory, check_file
    from vitdecomp.loading import Loading
    from vitdecomp.prepare import Request
    from vitdecomp.progress import Clock
    from vitdecomp.ranks import ranks
    from vitdecomp_alignment import alignments, show
    from vitdecomp_alignment.pairs import Pairing, gather_in_turn

    aligner, kept = alignments.make_aligner(method, seed, settings or ()), cache or cache_directory()
    check_file(out)
    taken = tuple(through) if through else None
    job = None if images is None else Extraction(images, by, output, taken, limit=limit)
    subject = Request(model, random_weights, checkpoint, device, dtype, seed, image_size)
    seer, loading = Request(clip, device=device), Loading(batch_size, num_workers, skip_unreadable)
    pairing = Pairing(subject, seer, kept, job, store)
    with ranks() as mine:
        clock = Clock(partial(progress_bar, quiet=quiet or not mine.first))
        if not resume and mine.first:
            alignments.training_file(out).unlink(missing_ok=True)
        pairs = gather_in_turn(pairing, mine, loading=loading, stage=clock)
        fitted = alignments.fit(pairs, aligner, out, clock, mine)
    if not mine.first:
        return
    summary = alignments.summary(pairs, clip, fitted, out)
    tables = alignments.report(pairs, pairing, loading=loading, seeds=seeds, stage=clock) if report else []
    if as_json:
        shown = {"seconds": clock.seconds, "report": [table.to_json() for table in tables]}
        typer.echo(json.dumps({**summary, **shown}, indent=1))
    else:
        show.show_alignment(stdout(), summary, clock.seconds, tables)
