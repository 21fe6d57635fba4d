"""Ablation curves of a model on labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vitdecomp._utils.console import make_table, print_table
from vitdecomp._utils.progress import Stage
from vitdecomp.ablation import Curve, LinearHead, Steps, ablation_curves
from vitdecomp.ablation.linear_head import totals
from vitdecomp.datasets.grouped import Grouped
from vitdecomp.errors import SpecError
from vitdecomp.extract.grouped import GroupedSource, cached_grouped
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, PreparedModel, prepare

SHOWN_STEPS = 12  # columns of a curve at most


def ablate_model(
    options: ModelOptions,
    halves: Sequence[Grouped],
    steps: Steps,
    cache: Path,
    *,
    own_head: bool,
    loading: Loading,
    stage: Stage,
) -> dict[str, Any]:
    """Compute the curves of one model.

    Args:
        options: the model.
        halves: images that a head and means learn from, and those that are classified.
        steps: what to take away in which order.
        cache: folder for what can be computed again.
        own_head: the model's classifier, its classes matched by name, instead of a fitted linear head.
        loading: how images are read.
        stage: shows what is being done.

    Raises:
        InputError: no image can be read.
        SpecError: no such model, or a classifier without the classes.
        OutputError: the cache cannot be written.
    """
    with stage(f"contributions of {options.model}") as progress:
        prepared = prepare(options)
        train, test = (cached_grouped(prepared, half, cache, loading=loading, progress=progress) for half in halves)
    with stage(f"ablating {options.model}") as progress:
        curves = ablation_curves(
            train.source,
            test.source,
            test.images.labels,
            _head(prepared, train, own_head),
            steps,
            train_labels=train.images.labels,
            progress=progress,
        )
    return {
        "model": options.model,
        "images": {"train": len(train.images), "test": len(test.images)},
        "skipped": [*train.skipped, *test.skipped],
        "classes": list(train.images.classes),
        "unit": steps.unit,
        "value": steps.value,
        "head": "own" if own_head else "fitted",
        "curves": curves,
    }


def curves_json(found: Mapping[str, Any]) -> dict[str, Any]:
    """Give the curves of a model as plain values."""
    curves: list[Curve] = found["curves"]
    return {**found, "curves": [curve.to_json() for curve in curves]}


def show_curves(console: Console, models: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for each model, with a row for each order."""
    for found in models:
        images, unit = found["images"], found["unit"]
        title = (
            f"{found['model']}: accuracy of a {found['head']} head on {images['test']:,} images of "
            f"{len(found['classes'])} classes, {unit}s replaced by {found['value']}"
        )
        steps = len(found["curves"][0].accuracy)
        shown = sorted({round(i * (steps - 1) / (min(steps, SHOWN_STEPS) - 1)) for i in range(min(steps, SHOWN_STEPS))})
        columns = [f"-{step}" if step else "whole" for step in shown]
        table = make_table("order", *columns, words={"order"}, title=title)
        for curve in found["curves"]:
            table.add_row(curve.order, *(f"{curve.accuracy[step]:.1%}" for step in shown))
        print_table(console, table)


def _head(prepared: PreparedModel, train: GroupedSource, own: bool) -> LinearHead:
    if not own:
        return LinearHead.fit(totals(train.source), train.images.labels, len(train.images.classes))
    known = prepared.loaded.classifier
    if known is None:
        raise SpecError(f"{prepared.loaded.spec} has no linear classifier: leave out --own-head, and one is fitted")
    return LinearHead.named(known.layer.weight, known.layer.bias, known.names, train.images.classes)
