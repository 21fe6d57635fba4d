"""What `vitdecomp ablate` does: ablation curves of one or more models on labelled images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitdecomp._utils.progress import Progress, Stage
from vitdecomp.ablation import Curve, LinearHead, Steps, ablation_curves
from vitdecomp.ablation.linear_head import totals
from vitdecomp.datasets.grouped import Grouped, read
from vitdecomp.errors import InputError, SpecError
from vitdecomp.extract import ExtractConfig, cached
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, PreparedModel, prepare
from vitdecomp.scenes.folder import kept
from vitdecomp.sources.selection import Selection
from vitdecomp.sources.source import Source

WORLD = 1000  # pictures of each split, where no images are given


@dataclass(frozen=True, slots=True)
class Curves:
    """What to take away from which models.

    Attributes:
        images: a folder for each class, or whatever `datasets.grouped` reads; the shapes of scenes by default.
        own_head: the model's classifier, its classes matched by name, instead of a linear head fitted to the
            training half.
        limit: images of each half at most.
        steps: the rest.
    """

    images: Path | None = None
    own_head: bool = False
    limit: int | None = None
    steps: Steps = field(default_factory=Steps)


def ablate_model(options: ModelOptions, job: Curves, cache: Path, *, loading: Loading, stage: Stage) -> dict[str, Any]:
    """The curves of one model, with what they were made of.

    Raises:
        InputError: no images, or one that cannot be read.
        SpecError: no such model, or a classifier without the classes.
        OutputError: the cache cannot be written.
    """
    data = read(job.images or kept(cache, WORLD, "train", "test"))
    halves = data.halves(job.limit)
    with stage(f"contributions of {options.model}") as progress:
        prepared = prepare(options)
        train, test = (_source(prepared, half, cache, loading, progress) for half in halves)
    with stage(f"taking {options.model} apart") as progress:
        head = _head(prepared, train, halves[0], job.own_head)
        curves = ablation_curves(
            train, test, halves[1].labels, head, job.steps, train_labels=halves[0].labels, progress=progress
        )
    return {
        "model": options.model,
        "images": {"train": len(halves[0]), "test": len(halves[1])},
        "classes": list(data.classes),
        "unit": job.steps.unit,
        "value": job.steps.value,
        "head": "own" if job.own_head else "fitted",
        "curves": curves,
    }


def one_each(files: list[Path] | None, models: list[str]) -> list[Path | None]:
    """The file with weights of each model, or none at all.

    Raises:
        SpecError: fewer files than models, or more.
    """
    if files and len(files) != len(models):
        raise SpecError(
            f"--checkpoint is given {len(files)} times for {len(models)} models: give one for each, in order"
        )
    return list(files) if files else [None] * len(models)


def to_json(found: dict[str, Any]) -> dict[str, Any]:
    """Plain values."""
    curves: list[Curve] = found["curves"]
    return {**found, "curves": [curve.to_json() for curve in curves]}


def _source(prepared: PreparedModel, part: Grouped, cache: Path, loading: Loading, progress: Progress) -> Source:
    store = cached(prepared, ExtractConfig(part), cache, loading=loading, progress=progress)
    if len(store) != len(part):
        raise InputError(f"{len(part) - len(store)} of {len(part)} images in {part.root} cannot be read")
    return Selection(store, tuple(range(len(part))))


def _head(prepared: PreparedModel, train: Source, part: Grouped, own: bool) -> LinearHead:
    if not own:
        return LinearHead.fit(totals(train), part.labels, len(part.classes))
    known = prepared.loaded.classifier
    if known is None:
        raise SpecError(f"{prepared.loaded.spec} has no linear classifier: leave out --own-head, and one is fitted")
    return LinearHead.named(known.layer.weight, known.layer.bias, known.names, part.classes)
