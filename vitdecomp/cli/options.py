"""Flags that several commands share, and what each group of them stands for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from vitdecomp._utils.console import progress_bar, stdout
from vitdecomp._utils.progress import Progress, Stage
from vitdecomp.cli.command import Alias
from vitdecomp.errors import SpecError
from vitdecomp.models.user_code import import_named

if TYPE_CHECKING:
    from rich.console import Console

    from vitdecomp.datasets.grouped import Grouped
    from vitdecomp.models.image_loader import Loading
    from vitdecomp.models.prepare import ModelOptions

MODEL = "timm:NAME, open_clip:NAME/TAG, hf:REPO, torchvision:NAME, python:module:factory"
Model = Annotated[str, Argument(help=MODEL)]
By = Annotated[str, Option(help="head, module, block, token, 'head,token', neuron or representation.")]
Checkpoint = Annotated[Path | None, Option(help="Local file with weights.")]
Strict = Annotated[
    bool, Option("--strict/--skip-unreadable", help="Stop at the first unreadable image, or skip and list them.")
]
Figure = Annotated[Path | None, Option(help="Write a figure to FILE.png.")]


@dataclass(frozen=True, slots=True)
class WeightOptions:
    """Which weights models get, and for which images."""

    random_weights: Annotated[bool, Option("--random-weights", help="Random weights instead of trained ones.")] = False
    seed: Annotated[int, Option(min=0, max=2**32 - 1, help="Seed of everything random.")] = 0
    image_size: Annotated[str | None, Option(help="N, HxW or CxHxW; default: what the model was made for.")] = None
    imports: Annotated[
        tuple[str, ...],
        Option("--import", help="Python module of yours that registers the model, with timm or here; repeatable."),
    ] = ()

    def __post_init__(self) -> None:
        """Import the user's modules. Model options carry their names to other processes of the same run."""
        import_named(self.imports)


@dataclass(frozen=True, slots=True)
class LoadOptions(WeightOptions):
    """How models are loaded."""

    device: Annotated[str, Option(help="auto, cpu, cuda or mps.")] = "auto"
    dtype: Annotated[str | None, Option(help="float32, float64, bfloat16 or float16; default: the model's own.")] = None

    def _of(self, model: str, checkpoint: Path | None) -> ModelOptions:
        """Give the options of a model with weights from a file."""
        from vitdecomp.models.prepare import ModelOptions

        return ModelOptions(model, self.random_weights, checkpoint, self.device, self.dtype, self.seed, self.image_size)


@dataclass(frozen=True, slots=True)
class SingleModelOptions(LoadOptions):
    """How one model is loaded."""

    checkpoint: Checkpoint = None

    def of(self, model: str) -> ModelOptions:
        """Give the options of the model."""
        return self._of(model, self.checkpoint)


@dataclass(frozen=True, slots=True)
class SeveralModelsOptions(LoadOptions):
    """How several models are loaded."""

    checkpoint: Annotated[
        tuple[Path, ...], Option(help="Local file with weights; repeatable, one for each model.")
    ] = ()

    def of_each(self, models: Sequence[str]) -> list[ModelOptions]:
        """Give the options of the models.

        Raises:
            SpecError: there are fewer files with weights than models, or more, but some.
        """
        files = self.checkpoint or [None] * len(models)
        if len(files) != len(models):
            raise SpecError(
                f"--checkpoint is given {len(files)} times for {len(models)} models: give one for each, in order"
            )
        return [self._of(model, file) for model, file in zip(models, files, strict=True)]


@dataclass(frozen=True, slots=True)
class PathOptions:
    """Which paths through a model are followed."""

    output: Annotated[str, Option(help="Which vector of the model.")] = "embedding"
    through: Annotated[
        tuple[str, ...],
        Option(help="none, auto, all, or attentions to walk through, by module path; repeatable; default: auto."),
    ] = ()


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """Which images of a data set are read."""

    limit: Annotated[int | None, Option(min=1, help="Take no more images than this.")] = None
    strict: Strict = False


@dataclass(frozen=True, slots=True)
class LoadingOptions(ImageOptions):
    """How images are read."""

    batch_size: Annotated[int, Option(min=1, help="Images that are computed together.")] = 32
    num_workers: Annotated[int, Option(min=0, help="Threads that read images.")] = 0

    @property
    def loading(self) -> Loading:
        """How the library is to read them."""
        from vitdecomp.models.image_loader import Loading

        return Loading(self.batch_size, self.num_workers, not self.strict)


@dataclass(frozen=True, slots=True)
class CachedOptions(LoadingOptions):
    """How images are read by a command that caches what it computes."""

    cache: Annotated[Path | None, Option(help="Folder for what can be computed again.")] = None

    @property
    def folder(self) -> Path:
        """The cache."""
        from vitdecomp._utils.files import cache_directory

        return self.cache or cache_directory()


@dataclass(frozen=True, slots=True)
class LabelledOptions:
    """Which images with classes and groups are read."""

    images: Annotated[
        Path | None,
        Option(help="Waterbirds, CelebA, scenes, a folder for each class, or a CSV; default: the embedded world."),
        Alias("--data"),
    ] = None
    data_format: Annotated[str | None, Option(help="waterbirds, celeba, scenes, csv or folder.")] = None
    image_column: Annotated[str, Option(help="Of a CSV.")] = "image"
    label_column: Annotated[str, Option(help="Of a CSV.")] = "label"
    group_column: Annotated[str, Option(help="Of a CSV.")] = "group"
    split_column: Annotated[str, Option(help="Of a CSV; without it half of each group trains.")] = "split"
    target: Annotated[str, Option(help="The class among CelebA's attributes.")] = "Blond_Hair"
    beside: Annotated[str, Option(help="The attribute that goes with it.")] = "Male"

    def read(self, cache: Path, n: int, subset: str = "plain") -> Grouped:
        """Read them.

        Args:
            cache: where images of the embedded world are, if no others are given.
            n: their number in each split.
            subset: the subset of them.
        """
        from vitdecomp.datasets.grouped import read
        from vitdecomp.datasets.grouped.formats import Columns
        from vitdecomp.scenes.folder import cached_scenes

        columns = Columns(
            self.image_column, self.label_column, self.group_column, self.split_column, self.target, self.beside
        )
        return read(self.images or cached_scenes(cache, n, "train", "test", subset=subset), columns, self.data_format)


@dataclass(frozen=True, slots=True)
class RemovalOptions:
    """What components are replaced by, and which classifier judges the rest."""

    value: Annotated[str, Option(help="What replaces components: mean, zero or resample.")] = "mean"
    own_head: Annotated[bool, Option("--own-head", help="The model's own classifier; default: one is fitted.")] = False
    draws: Annotated[int, Option(min=1, help="Random choices of components to compare with.")] = 10


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """Which processes do the work."""

    resume: Annotated[bool, Option("--resume/--no-resume", help="Continue an interrupted run.")] = True
    executor: Annotated[
        str, Option(help="local, with all processes if torchrun started it, or ray."), Alias("--engine")
    ] = "local"
    address: Annotated[str | None, Option(help="Of a Ray cluster; default: one on this machine.")] = None


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """How a command shows its progress and its result."""

    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False
    quiet: Annotated[bool, Option("--quiet", help="No progress.")] = False

    @property
    def stage(self) -> Stage:
        """A progress bar for each part of the work."""
        return partial(progress_bar, quiet=self.quiet)

    def progress(self, text: str) -> AbstractContextManager[Progress]:
        """Show a progress bar."""
        return progress_bar(text, self.quiet)

    def show(self, values: Any, text: Callable[[Console], None]) -> None:
        """Print a result: plain values as JSON, or for people."""
        if self.as_json:
            typer.echo(json.dumps(values, indent=1))
        else:
            text(stdout())
