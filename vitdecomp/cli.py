"""The command line: one thin function per verb. Progress goes to stderr, results to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import rich.progress
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

import vitdecomp
from vitdecomp import commands
from vitdecomp.demo import Options, run_demo
from vitdecomp.errors import VitdecompError
from vitdecomp.extract import Loading, Progress
from vitdecomp.prepare import Request
from vitdecomp.show import show_demo, show_extraction, show_report, stages

F = TypeVar("F", bound=Callable[..., None])

app = typer.Typer(
    name="vitdecomp",
    help="Split the representation of any vision transformer into an exact sum of named contributions.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Model = Annotated[
    str,
    typer.Argument(help="timm:NAME, open_clip:NAME/TAG, hf:REPO, torchvision:NAME, python:module:factory"),
]
Output = Annotated[str, typer.Option(help="Which vector of the model.")]
Through = Annotated[list[str] | None, typer.Option(help="Attentions to walk through, by module path; repeatable.")]
RandomWeights = Annotated[bool, typer.Option("--random-weights", help="Random weights instead of trained ones.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Local file with weights.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str | None, typer.Option(help="float32, float64, bfloat16 or float16; default: the model's own.")]
Seed = Annotated[int, typer.Option(help="Seed of random weights.")]
ImageSize = Annotated[str | None, typer.Option(help="N, HxW or CxHxW; default: what the model was made for.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take no more images than this.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


def verb(function: F) -> F:
    """Register a command whose errors are one line and exit code 2."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except VitdecompError as error:
            _fail(str(error))
        except (MemoryError, torch.OutOfMemoryError) as error:
            _fail(f"out of memory ({error}); try a smaller --batch-size or --device cpu")
        except KeyboardInterrupt:
            resumes = "; run the same command again to resume" if "resume" in kwargs else ""
            typer.echo(f"interrupted{resumes}", err=True)
            raise typer.Exit(130) from None

    app.command()(run)
    return function


def _fail(message: str) -> None:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    raise typer.Exit(2)


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(vitdecomp.__version__)
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
    specs = commands.list_models(pattern)
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
    request = Request(model, random_weights, checkpoint, device, dtype, seed, image_size)
    with _status(f"tracing {model}", quiet):
        report, source = commands.inspect(
            request, images=images, limit=limit or 4, output=output, through=through, graph=graph
        )
    if as_json:
        typer.echo(json.dumps({**report.to_json(), "images": source}, indent=1))
    else:
        show_report(_stdout(), report, source)


@verb
def extract(  # noqa: PLR0913 - one parameter per flag
    model: Model,
    *,
    images: Annotated[Path, typer.Option(help="Folder of images, searched with the folders in it.")],
    out: Annotated[Path, typer.Option(help="Folder for the result.")],
    by: Annotated[str, typer.Option(help="head, module, block, token, 'head,token' or neuron.")] = "head",
    output: Output = "embedding",
    through: Through = None,
    random_weights: RandomWeights = False,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    dtype: Dtype = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that are decomposed together.")] = 32,
    shard_size: Annotated[int, typer.Option(min=1, help="Images in one file.")] = 128,
    num_workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    limit: Limit = None,
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave out broken images.")] = False,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on with what is there.")] = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the contributions of a folder of images; run it again to go on after an interruption."""
    job = commands.Extraction(images, out, by, output, through, shard_size, limit, resume)
    request = Request(model, random_weights, checkpoint, device, dtype, seed, image_size)
    loading = Loading(batch_size, num_workers, skip_unreadable)
    with _progress("extracting", quiet) as progress:
        summary = commands.extract(request, job, loading, progress)
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
    else:
        show_extraction(_stdout(), summary)


@verb
def demo(
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for report.html, summary.json and paths.graphml.")] = None,
    model: Annotated[str | None, typer.Option(help="A spec; default: the embedded models.")] = None,
    images: Annotated[Path | None, typer.Option(help="A folder; default: the embedded world.")] = None,
    random_weights: RandomWeights = False,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take models apart on pictures whose every factor is known, and write what was found as one page."""
    result = run_demo(Options(model, images, seed, random_weights), out, stages(_stderr(quiet)))
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
    else:
        show_demo(_stdout(), result, out)


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
    with _progress("drawing", quiet) as progress:
        summary = commands.write_scenes(
            out, n=n, seed=seed, split=split, subset=subset, word_probability=word_probability, progress=progress
        )
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
    else:
        typer.echo(f"{summary['pictures']} pictures in {len(summary['classes'])} classes: {out}")


def _stdout() -> Console:
    return Console(highlight=False, soft_wrap=False)


def _stderr(quiet: bool) -> Console:
    return Console(stderr=True, quiet=quiet)


def _status(text: str, quiet: bool) -> AbstractContextManager[Any]:
    return _stderr(quiet).status(text)


@contextmanager
def _progress(text: str, quiet: bool) -> Iterator[Progress]:
    """Progress on stderr: a bar in a terminal, a line for every tenth in a log."""
    console = _stderr(quiet)
    if not console.is_terminal:
        yield _tenths(console, text)
        return
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with rich.progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tenths(console: Console, text: str) -> Progress:
    told = -1

    def progress(done: int, total: int) -> None:
        nonlocal told
        if 10 * done // total > told:
            told = 10 * done // total
            console.print(f"{text} {done} of {total}")

    return progress


def main() -> None:
    """The `vitdecomp` command."""
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="vitdecomp", standalone_mode=False)
    except typer.Abort:
        code = 130
    except Exception as error:
        # A usage error: its class is click's or typer's own, depending on the version of typer.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        typer.echo(f"error: {' '.join(describe().split())}", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
