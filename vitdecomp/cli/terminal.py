"""How verbs are registered and how they fail: one line, exit code 2."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from vitdecomp._utils.console import printable
from vitdecomp._utils.notes import notes_on_stderr
from vitdecomp.errors import InputError, VitdecompError
from vitdecomp.models.user_code import import_named

F = TypeVar("F", bound=Callable[..., None])
HELP = {"help_option_names": ["-h", "--help"]}
# A path of the user's that cannot be used; any other OSError is a fault of ours and keeps its traceback.
_PATHS = {errno.ENAMETOOLONG: "the name is too long", errno.ELOOP: "its links lead in a circle"}

IMPORTS = "imports"
MODELS = frozenset(("model", "models"))  # parameters that are specs of models
Import = Annotated[
    list[str] | None,
    typer.Option("--import", help="Python module of yours that registers the model, with timm or here; repeatable."),
]
IMPORT = Parameter(IMPORTS, Parameter.KEYWORD_ONLY, default=None, annotation=Import)

app = typer.Typer(
    name="vitdecomp",
    help="Split the representation of any vision transformer into an exact sum of named contributions.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP,
)


def verb(function: F) -> F:
    """Register a command whose errors are one line and exit code 2; one that takes a model has `--import` too."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with notes_on_stderr():
                import_named(kwargs.pop(IMPORTS, None) or ())
                function(*args, **{name: _at_home(value) for name, value in kwargs.items()})
        except VitdecompError as error:
            fail(str(error))
        except KeyboardInterrupt:
            resumes = "; run the same command again to resume" if "resume" in kwargs else ""
            typer.echo(f"interrupted{resumes}", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            fail(_unusual(error))

    known = signature(function, eval_str=True)
    if MODELS & known.parameters.keys():
        # Read by typer from here. What other processes of the same run have to import is told by their requests.
        run.__signature__ = known.replace(parameters=[*known.parameters.values(), IMPORT])  # type: ignore[attr-defined]
        run.__annotations__ = {**get_type_hints(function, include_extras=True), IMPORTS: Import}
    app.command(context_settings=HELP)(run)
    return function


def fail(message: str) -> None:
    """End the command with one line on stderr and exit code 2."""
    typer.echo(f"error: {printable(' '.join(message.split()))}", err=True)
    raise typer.Exit(2)


def _at_home(value: Any) -> Any:
    """Replace the `~` that begins a path, which a shell leaves alone in `--out=~/hits.html`."""
    if isinstance(value, (list, tuple)):
        return type(value)(_at_home(one) for one in value)
    if isinstance(value, Path) or (isinstance(value, str) and value.startswith("~/")):
        try:
            return type(value)(Path(value).expanduser())
        except RuntimeError as error:
            raise InputError(f"cannot find the home directory that {value} names") from error
    return value


def _unusual(error: Exception) -> str:
    """What to say of an error that is not ours.

    Raises:
        Exception: the error itself, where its traceback says more.
    """
    if _out_of_memory(error):
        return f"out of memory ({error}); try a smaller --batch-size or --device cpu"
    if isinstance(error, OSError) and error.errno in _PATHS:
        return f"cannot use the path {_shortened(error.filename)}: {_PATHS[error.errno]}"
    raise error


def _shortened(path: Any, longest: int = 100) -> str:
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"


def _out_of_memory(error: Exception) -> bool:
    """Whether it is Python's, or torch's, which is known by its name so that torch need not be imported."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
