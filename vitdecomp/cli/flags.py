"""Flags that several verbs of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MODEL = "timm:NAME, open_clip:NAME/TAG, hf:REPO, torchvision:NAME, python:module:factory"
Model = Annotated[str, typer.Argument(help=MODEL)]
Output = Annotated[str, typer.Option(help="Which vector of the model.")]
Through = Annotated[list[str] | None, typer.Option(help="Attentions to walk through, by module path; repeatable.")]
RandomWeights = Annotated[bool, typer.Option("--random-weights", help="Random weights instead of trained ones.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Local file with weights.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str | None, typer.Option(help="float32, float64, bfloat16 or float16; default: the model's own.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of random weights.")]
ImageSize = Annotated[str | None, typer.Option(help="N, HxW or CxHxW; default: what the model was made for.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take no more images than this.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images that are computed together.")]
NumWorkers = Annotated[int, typer.Option(min=0, help="Threads that read images.")]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable/--strict", help="Leave out broken images and list them, or stop there.")
]
Cache = Annotated[Path | None, typer.Option(help="Folder for what can be computed again.")]
Engine = Annotated[str, typer.Option(help="Who does the work: local, with torchrun if it started us, or ray.")]
Address = Annotated[str | None, typer.Option(help="Of a Ray cluster; default: one on this machine.")]
