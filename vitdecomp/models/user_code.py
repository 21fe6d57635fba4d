"""Python modules of the user's own, imported because the user named them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from vitdecomp.errors import LoadError, SpecError

NAMED: dict[str, None] = {}  # what was named for all models of this process, so that other processes import it too


def import_named(modules: Iterable[str]) -> None:
    """Import modules that register models or adapters, such as those that `--import` names.

    Raises:
        SpecError: there is no such module. LoadError: importing it fails.
    """
    for name in modules:
        if name not in NAMED:
            with working_directory():
                import_own(name, f"--import {name}")
            NAMED[name] = None


def import_own(path: str, asked: str) -> ModuleType:
    """Import a module by its name; `asked` begins the message of an error.

    Raises:
        SpecError: there is no such module. LoadError: importing it fails.
    """
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise LoadError(f"{asked}: importing {path} failed: {_line(error)}") from error
        where = "the working directory or the installed packages"
        raise SpecError(f"{asked}: there is no module {error.name!r} in {where}") from error
    except (TypeError, ValueError) as error:
        known = path and not path.startswith(".")
        kind = LoadError if known else SpecError
        raise kind(f"{asked}: importing {path!r} failed: {_line(error)}") from error
    except Exception as error:  # somebody else's code
        raise LoadError(f"{asked}: importing {path} failed: {_line(error)}") from error


@contextmanager
def working_directory() -> Iterator[None]:
    """Find modules of the working directory too, as `python -m` does and an installed command does not."""
    here = str(Path.cwd())
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
