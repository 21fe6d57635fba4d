"""Makes the general pool that ships: `python -m vitdecomp_alignment.texts --out FILE`, that is `texts/general.txt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitdecomp._utils.files import atomic, check_file
from vitdecomp.errors import VitdecompError
from vitdecomp_alignment.texts.generate import general_pool


def main(
    out: Annotated[Path | None, typer.Option(help="File to write, instead of printing.")] = None,
) -> None:
    """Print the general pool of texts, one a line, or write it to a file."""
    content = "".join(f"{text}\n" for text in general_pool())
    if out is None:
        typer.echo(content, nl=False)
        return
    try:
        check_file(out)
        with atomic(out) as partial:
            partial.write_bytes(content.encode())
    except VitdecompError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
