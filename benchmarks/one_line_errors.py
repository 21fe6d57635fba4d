"""Errors of benchmarks as users of commands see them: one line on stderr, exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from vitdecomp import VitdecompError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Tell an error of the library in one line.

    Raises:
        typer.Exit: there was one.
    """
    try:
        yield
    except VitdecompError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, soft_wrap=True, style="red")
        raise typer.Exit(2) from error
