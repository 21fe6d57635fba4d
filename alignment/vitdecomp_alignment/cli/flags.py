"""Flags that verbs of this package share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Maps = Annotated[Path | None, typer.Option(help="What `align` wrote; not for a CLIP.")]
Clip = Annotated[str | None, typer.Option(help="The CLIP of the maps, by another spec.")]
Images = Annotated[Path | None, typer.Option(help="Folder of images; default: the embedded world.")]
By = Annotated[str, typer.Option(help="head, module, block or representation.")]
