"""`vitdecomp align`: fit maps into CLIP's space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from vitdecomp.cli.command import command
from vitdecomp.cli.options import (
    By,
    CachedOptions,
    ExecutorOptions,
    Model,
    PathOptions,
    ResultOptions,
    SingleModelOptions,
)
from vitdecomp_alignment.cli.options import Settings, StoreOf

if TYPE_CHECKING:
    from vitdecomp_alignment.align.program import AlignConfig


@dataclass(frozen=True, slots=True)
class AlignOptions:
    """Choose which maps are fitted, and to which space."""

    clip: Annotated[str, Option(help="The CLIP or SigLIP whose space the contributions are mapped to.")]
    out: Annotated[Path, Option(help="File for the maps, such as maps.safetensors.")]
    images: Annotated[
        Path | None, Option(help="Folder of images to learn from; with --store, only if it lacks CLIP's vectors.")
    ] = None
    store: StoreOf = None
    by: By = "head"
    method: Annotated[str, Option(help="compalign, closed-form, linear, or a plug-in's.")] = "compalign"
    settings: Settings = ()
    report: Annotated[bool, Option("--report", help="Evaluate all methods, with controls.")] = False
    seeds: Annotated[int, Option(min=1, help="Repetitions.")] = 3


@command
def align(
    model: Model,
    *,
    maps: AlignOptions,
    paths: PathOptions,
    loading: SingleModelOptions,
    reading: CachedOptions,
    executor: ExecutorOptions,
    result: ResultOptions,
) -> None:
    """Fit linear maps that take a model's contributions into CLIP's space, so that texts can name them."""
    from vitdecomp_alignment.align.program import align as fit_maps
    from vitdecomp_alignment.cli.align.show import show_alignment

    config = _config(model, maps, paths, loading, reading, resume=executor.resume)
    done = fit_maps(config, result.stage, executor=executor.executor, address=executor.address)
    if done is None:  # another process of the run prints the result
        return
    report = {"seconds": done.seconds, "report": [table.to_json() for table in done.tables]}
    result.show(
        {**done.summary, **report},
        lambda console: show_alignment(console, done.summary, done.seconds, done.tables),
    )


def _config(
    model: str,
    maps: AlignOptions,
    paths: PathOptions,
    loading: SingleModelOptions,
    reading: CachedOptions,
    *,
    resume: bool,
) -> AlignConfig:
    from vitdecomp.extract import ExtractConfig
    from vitdecomp.models.prepare import ModelOptions
    from vitdecomp_alignment.align.pairs import Pairing
    from vitdecomp_alignment.align.program import AlignConfig

    through = paths.through or None
    images = None
    if maps.images is not None:
        images = ExtractConfig(maps.images, maps.by, paths.output, through, limit=reading.limit)
    clip = ModelOptions(maps.clip, device=loading.device)
    pairing = Pairing(loading.of(model), clip, reading.folder, images, maps.store)
    seeds = maps.seeds if maps.report else 0
    return AlignConfig(pairing, reading.loading, maps.out, maps.method, maps.settings, loading.seed, resume, seeds)
