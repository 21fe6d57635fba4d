"""Commands of the embedded world: their errors are one line and exit code 2."""

from __future__ import annotations

from collections.abc import Callable

import typer

from vitdecomp.errors import VitdecompError


def run_command(function: Callable[..., None]) -> None:
    """Run a function as a command, its parameters being the flags.

    Raises:
        SystemExit: 2 after an error of vitdecomp, 130 after an interruption.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    try:
        app()
    except VitdecompError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; run the same command again", err=True)
        raise SystemExit(130) from None
