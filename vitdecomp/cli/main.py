"""The command line: one thin function per verb, which imports what it needs when it runs."""

from __future__ import annotations

import json
import sys
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from vitdecomp import __version__
from vitdecomp._utils.console import printable, progress_bar, status, stderr, stdout, tolerate_encoding
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
from vitdecomp.cli.terminal import app, verb

GROUP = "vitdecomp.verbs"


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit
    return wanted


Version = Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")]


@app.callback()
def start(version: Version = False) -> None:
    """Split the representation of any vision transformer into an exact sum of named contributions."""


@verb
def models(
    pattern: Annotated[str, typer.Argument(help="Part of a spec, or a pattern such as 'timm:deit*'.")] = "*",
    as_json: Json = False,
) -> None:
    """List the models that can be loaded."""
    from vitdecomp.cli.models import list_models

    specs = list_models(pattern)
    typer.echo(json.dumps(specs, indent=1) if as_json else "\n".join(specs))


@verb
def inspect(  # noqa: PLR0913 - one parameter per flag
    model: Model,
    *,
    images: Annotated[Path | None, typer.Option(help="An image or a folder; default: two photographs.")] = None,
    graph: Annotated[Path | None, typer.Option(help="Write the linear paths to FILE.graphml or FILE.dot.")] = None,
    output: Output = "embedding",
    through: Through = None,
    random_weights: RandomWeights = False,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    dtype: Dtype = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    limit: Limit = 4,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Trace a model and show what its representation is made of."""
    from vitdecomp.cli.inspect import inspect_model
    from vitdecomp.cli.show import show_report
    from vitdecomp.models.prepare import ModelOptions

    options = ModelOptions(model, random_weights, checkpoint, device, dtype, seed, image_size)
    with status(f"tracing {model}", quiet):
        report, source = inspect_model(
            options, images=images, limit=limit or 4, output=output, through=through, graph=graph
        )
    if as_json:
        typer.echo(json.dumps({**report.to_json(), "images": source}, indent=1))
    else:
        show_report(stdout(), report, source)


@verb
def extract(  # noqa: PLR0913 - one parameter per flag
    model: Model,
    *,
    images: Annotated[Path, typer.Option(help="Folder, CSV with paths, webdataset, or Hugging Face data set on disk.")],
    out: Annotated[str, typer.Option(help="Store, such as store.lance or s3://bucket/store.lance.")],
    by: Annotated[
        str, typer.Option(help="head, module, block, token, 'head,token', neuron or representation.")
    ] = "head",
    output: Output = "embedding",
    through: Through = None,
    random_weights: RandomWeights = False,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    dtype: Dtype = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    batch_size: BatchSize = 32,
    chunk_size: Annotated[int, typer.Option(min=1, help="Images that are written together.")] = 256,
    precision: Annotated[str, typer.Option(help="float16, float32 or float64, of what is written.")] = "float16",
    num_workers: NumWorkers = 0,
    limit: Limit = None,
    skip_unreadable: SkipUnreadable = True,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on with what is there.")] = True,
    engine: Engine = "local",
    address: Address = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the contributions of images to a store; run it again to go on, or to add more images."""
    from vitdecomp.cli.extract import summary
    from vitdecomp.cli.show import show_extraction
    from vitdecomp.distributed.process_group import ranks
    from vitdecomp.extract import ExtractConfig
    from vitdecomp.extract import extract as write_store
    from vitdecomp.models.image_loader import Loading
    from vitdecomp.models.prepare import ModelOptions

    job = ExtractConfig(images, by, output, tuple(through) if through else None, chunk_size, limit, precision)
    options = ModelOptions(model, random_weights, checkpoint, device, dtype, seed, image_size)
    loading = Loading(batch_size, num_workers, skip_unreadable)
    with ranks() as mine, progress_bar("extracting", quiet or not mine.first) as progress:
        done = write_store(
            options, job, out, resume=resume, loading=loading, progress=progress, engine=engine, address=address
        )
    if not mine.first:
        return
    told = summary(out, done)
    if as_json:
        typer.echo(json.dumps(told, indent=1))
    else:
        show_extraction(stdout(), told)


@verb
def verify(
    store: Annotated[str, typer.Argument(help="Store, such as store.lance or s3://bucket/store.lance.")],
    *,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read all of a store, and compare it with its checksums; a damaged file is named, with exit code 2."""
    from vitdecomp.cli.verify import show_verified, summary
    from vitdecomp.store.verification import verify as verify_store

    with progress_bar("verifying", quiet) as progress:
        told = summary(store, verify_store(store, progress=progress))
    if as_json:
        typer.echo(json.dumps(told, indent=1))
    else:
        show_verified(stdout(), told)


@verb
def demo(  # noqa: PLR0913 - one parameter per flag
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for report.html, summary.json and paths.graphml.")] = None,
    model: Annotated[str | None, typer.Option(help="A spec; default: the embedded models.")] = None,
    images: Annotated[Path | None, typer.Option(help="A folder; default: the embedded world.")] = None,
    clip: Annotated[str | None, typer.Option(help="Whose texts name components; default: scenes:clip.")] = None,
    random_weights: RandomWeights = False,
    checkpoint: Checkpoint = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take models apart on pictures whose every factor is known, and write what was found as one page."""
    from vitdecomp.cli.show_demo import show_demo, stages
    from vitdecomp.demo import Options, run_demo

    result = run_demo(
        Options(model, images, seed, random_weights, clip, checkpoint, image_size), out, stages(stderr(quiet))
    )
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
    else:
        show_demo(stdout(), result, out)


@verb
def ablate(  # noqa: PLR0913 - one parameter per flag
    models: Annotated[list[str], typer.Argument(help="One or more specs.")],
    *,
    images: Annotated[Path | None, typer.Option(help="A folder for each class, or a CSV; default: scenes.")] = None,
    unit: Annotated[str, typer.Option(help="What goes in one step: layer or component.")] = "layer",
    order: Annotated[
        list[str] | None, typer.Option(help="last, first, score or random; repeatable; default: all.")
    ] = None,
    value: Annotated[str, typer.Option(help="What replaces it: mean, zero or resample.")] = "mean",
    own_head: Annotated[bool, typer.Option("--own-head", help="The model's own classifier.")] = False,
    draws: Annotated[int, typer.Option(min=1, help="Random orders.")] = 5,
    figure: Annotated[Path | None, typer.Option(help="Write the curves to FILE.png.")] = None,
    random_weights: RandomWeights = False,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="Local file with weights; repeatable, one for each model.")
    ] = None,
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
    """Take layers or components away one after another, and see what a classifier still knows."""
    from vitdecomp._utils.files import cache_directory
    from vitdecomp.ablation import Steps, draw_curves
    from vitdecomp.cli.ablate import Curves, ablate_model, one_each, to_json
    from vitdecomp.cli.show import show_curves
    from vitdecomp.models.image_loader import Loading
    from vitdecomp.models.prepare import ModelOptions
    from vitdecomp.score import check_figure_file, write_figure

    if figure is not None:
        check_figure_file(figure)
    steps = Steps(unit, tuple(order or Steps().orders), value, draws, seed)
    job = Curves(images, own_head, limit, steps)
    loading, stage = Loading(batch_size, num_workers), partial(progress_bar, quiet=quiet)
    files = one_each(checkpoint, models)
    chosen = [
        ModelOptions(model, random_weights, file, device, dtype, seed, image_size)
        for model, file in zip(models, files, strict=True)
    ]
    kept = cache or cache_directory()
    found = [ablate_model(options, job, kept, loading=loading, stage=stage) for options in chosen]
    if figure is not None:
        write_figure(draw_curves({one["model"]: one["curves"] for one in found}, unit), figure)
    if as_json:
        typer.echo(json.dumps([to_json(one) for one in found], indent=1))
    else:
        show_curves(stdout(), found)


@verb
def scenes(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the pictures; must not exist, or be empty.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the pictures.")] = 0,
    split: Annotated[str, typer.Option(help="train, val or test; no two share a picture.")] = "test",
    subset: Annotated[str, typer.Option(help="plain, waterbirds, celeba or typographic.")] = "plain",
    word_probability: Annotated[float, typer.Option(help="How often a word is written over a picture.")] = 0.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw small labelled pictures, the same everywhere: a folder for each class, and labels.csv."""
    from vitdecomp.cli.scenes import write_scenes

    with progress_bar("drawing", quiet) as progress:
        summary = write_scenes(
            out, n=n, seed=seed, split=split, subset=subset, word_probability=word_probability, progress=progress
        )
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
    else:
        typer.echo(printable(f"{summary['pictures']} pictures in {len(summary['classes'])} classes: {out}"))


def main() -> None:
    """The `vitdecomp` command. Plugins bring verbs of their own: modules that register them when they are loaded."""
    tolerate_encoding()
    for plugin in entry_points(group=GROUP):
        plugin.load()
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="vitdecomp", standalone_mode=False)
    except typer.Abort:
        code = 130
    except Exception as error:
        # A usage error: its class is click's or typer's own, depending on the version of typer.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        typer.echo(f"error: {printable(' '.join(describe().split()))}", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
