"""How verbs are registered, fail, and show how far they are: results go to stdout, all else to stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, TypeVar

import typer
from rich.console import Console

from vitdecomp.errors import VitdecompError
from vitdecomp.progress import Progress

F = TypeVar("F", bound=Callable[..., None])

app = typer.Typer(
    name="vitdecomp",
    help="Split the representation of any vision transformer into an exact sum of named contributions.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def verb(function: F) -> F:
    """Register a command whose errors are one line and exit code 2."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except VitdecompError as error:
            _fail(str(error))
        except KeyboardInterrupt:
            resumes = "; run the same command again to resume" if "resume" in kwargs else ""
            typer.echo(f"interrupted{resumes}", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            if not _out_of_memory(error):
                raise
            _fail(f"out of memory ({error}); try a smaller --batch-size or --device cpu")

    app.command()(run)
    return function


def _out_of_memory(error: Exception) -> bool:
    """Whether it is Python's, or torch's, which is known by its name so that torch need not be imported."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _fail(message: str) -> None:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    raise typer.Exit(2)


def stdout() -> Console:
    """Where results go."""
    return Console(highlight=False, soft_wrap=False)


def stderr(quiet: bool) -> Console:
    """Where all else goes; nowhere, if quiet."""
    return Console(stderr=True, quiet=quiet)


def status(text: str, quiet: bool) -> AbstractContextManager[Any]:
    """What is being done, on stderr while it lasts."""
    return stderr(quiet).status(text)


@contextmanager
def progress_bar(text: str, quiet: bool) -> Iterator[Progress]:
    """Progress on stderr: a bar in a terminal, a line for every tenth in a log."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = stderr(quiet)
    if not console.is_terminal:
        yield _tenths(console, text)
        return
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
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
