"""The command line: it loads the commands, those of plug-ins too, and runs one."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from vitdecomp import __version__
from vitdecomp._utils.console import printable, tolerate_encoding
from vitdecomp._utils.registry import offered
from vitdecomp.cli.command import app
from vitdecomp.cli.failure import fail
from vitdecomp.cli.first_steps import FIRST_STEPS

COMMANDS = ("models", "inspect", "extract", "verify", "export", "ablate", "scenes", "demo")  # in the order of help
COMPLETION = "_VITDECOMP_COMPLETE"  # with which a shell asks for completions
GROUP = "vitdecomp.commands"  # modules of plug-ins that register commands when they are imported


for name in COMMANDS:
    import_module(f"vitdecomp.cli.{name}")


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit
    return wanted


Version = Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")]


@app.callback()
def start(version: Version = False) -> None:
    """Split the representation of any vision transformer into an exact sum of named contributions."""


def main() -> None:
    """Run the `vitdecomp` command; alone, say what to do first."""
    tolerate_encoding()
    if len(sys.argv) == 1 and COMPLETION not in os.environ:
        typer.echo(FIRST_STEPS, nl=False)
        sys.exit(0)
    for error in offered(GROUP)[1].values():  # other commands still work
        typer.echo(f"note: {printable(str(error))}", err=True)
    try:
        code = app(sys.argv[1:], prog_name="vitdecomp", standalone_mode=False)
    except typer.Abort:
        code = 130
    except Exception as error:
        # A usage error: its class is click's or typer's own, depending on the version of typer.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        code = fail(describe()).exit_code
    sys.exit(code if isinstance(code, int) else 0)
