"""`vitdecomp debias`: take a spurious cue out of a classifier."""

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
)
from vitdecomp.cli.terminal import verb
from vitdecomp_alignment.cli.flags import By, Maps


@verb
def debias(  # noqa: PLR0913 - one parameter per flag
    model: Model,
    *,
    spurious: Annotated[str, typer.Option(help="Words of the cue, separated by commas.")],
    core: Annotated[str, typer.Option(help="Words of what the class should be told by.")],
    data: Annotated[
        Path | None, typer.Option(help="Waterbirds, CelebA, scenes, class folders, or a CSV; default: scenes.")
    ] = None,
    data_format: Annotated[str | None, typer.Option(help="waterbirds, celeba, scenes, csv or folder.")] = None,
    image_column: Annotated[str, typer.Option(help="Of a CSV.")] = "image",
    label_column: Annotated[str, typer.Option(help="Of a CSV.")] = "label",
    group_column: Annotated[str, typer.Option(help="Of a CSV.")] = "group",
    split_column: Annotated[str, typer.Option(help="Of a CSV; without it half of each group trains.")] = "split",
    target: Annotated[str, typer.Option(help="The class among CelebA's attributes.")] = "Blond_Hair",
    beside: Annotated[str, typer.Option(help="The attribute that goes with it.")] = "Male",
    k: Annotated[str, typer.Option("--k", help="Components to take away: a number, or auto.")] = "10",
    value: Annotated[str, typer.Option(help="What replaces them: mean, zero or resample.")] = "mean",
    subspace: Annotated[bool, typer.Option("--subspace", help="Only what the cue's words see of them.")] = False,
    own_head: Annotated[bool, typer.Option("--own-head", help="The model's own classifier.")] = False,
    refit: Annotated[bool, typer.Option("--refit", help="Fit the head again to what is left.")] = False,
    share: Annotated[float, typer.Option(help="Of the training images that a head learns from.")] = 0.8,
    strength: Annotated[float, typer.Option(help="Inverse of the head's regularisation.")] = 1.0,
    balanced: Annotated[bool, typer.Option("--balanced", help="Classes count the same.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 3,
    draws: Annotated[int, typer.Option(min=1, help="Random components to compare with, for each.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Write the first seed's classifier without the cue, a module as safetensors.")
    ] = None,
    maps: Maps = None,
    clip: Annotated[str | None, typer.Option(help="A CLIP whose texts are used; maps are fitted to it.")] = None,
    align: Annotated[str, typer.Option(help="How: closed-form, compalign or linear.")] = "closed-form",
    by: By = "head",
    random_weights: RandomWeights = False,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    dtype: Dtype = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    batch_size: BatchSize = 32,
    num_workers: NumWorkers = 0,
    limit: Limit = None,
    cache: Cache = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank components by a spurious cue, take the first away, and measure every group before and after."""
    from vitdecomp._utils.files import cache_directory
    from vitdecomp.ablation import Plan
    from vitdecomp.datasets.grouped.formats import Columns
    from vitdecomp.models.image_loader import Loading
    from vitdecomp.models.prepare import ModelOptions
    from vitdecomp_alignment.cli.count import count
    from vitdecomp_alignment.cli.debias import debiasing
    from vitdecomp_alignment.cli.debias import show as show_debiasing

    plan = Plan(
        k=count(k),
        value=value,
        share=share,
        strength=strength,
        balanced=balanced,
        refit=refit,
        seeds=seeds,
        draws=draws,
    )
    task = debiasing.Task(
        spurious=_words(spurious),
        core=_words(core),
        plan=plan,
        data=data,
        columns=Columns(image_column, label_column, group_column, split_column, target, beside),
        kind=data_format,
        maps=maps,
        clip=clip,
        align=align,
        by=by,
        limit=limit,
        own_head=own_head,
        subspace=subspace,
        out=out,
    )
    options = ModelOptions(model, random_weights, checkpoint, device, dtype, seed, image_size)
    loading, stage = Loading(batch_size, num_workers), partial(progress_bar, quiet=quiet)
    found = debiasing.remove(options, task, cache or cache_directory(), loading=loading, stage=stage)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        show_debiasing.show_removal(stdout(), found)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))
