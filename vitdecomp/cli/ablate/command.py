"""`vitdecomp ablate`: take layers or components away one after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from vitdecomp.cli.command import command
from vitdecomp.cli.options import (
    CachedOptions,
    Figure,
    LabelledOptions,
    RemovalOptions,
    ResultOptions,
    SeveralModelsOptions,
)

if TYPE_CHECKING:
    from vitdecomp.ablation import Steps

WORLD = 1000  # images of the embedded world in each split, where no others are given


@dataclass(frozen=True, slots=True)
class CurveOptions:
    """Which curves are drawn."""

    unit: Annotated[str, Option(help="What goes in one step: layer or component.")] = "layer"
    order: Annotated[tuple[str, ...], Option(help="last, first, score or random; repeatable; default: all.")] = ()
    figure: Figure = None

    def steps(self, removal: RemovalOptions, seed: int) -> Steps:
        """Give what to take away in which order."""
        from vitdecomp.ablation import Steps

        return Steps(self.unit, self.order or Steps().orders, removal.value, removal.draws, seed)


@command
def ablate(
    models: Annotated[tuple[str, ...], Argument(help="One or more specs.")],
    *,
    curves: CurveOptions,
    removal: RemovalOptions = RemovalOptions(draws=5),
    labelled: LabelledOptions,
    loading: SeveralModelsOptions,
    reading: CachedOptions,
    result: ResultOptions,
) -> None:
    """Take layers or components away one after another, and see what a classifier still knows."""
    from vitdecomp.ablation import draw_curves
    from vitdecomp.cli.ablate.curves import ablate_model, curves_json, show_curves
    from vitdecomp.score import check_figure_file, write_figure

    if curves.figure is not None:
        check_figure_file(curves.figure)
    steps, requests = curves.steps(removal, loading.seed), loading.of_each(models)
    halves = labelled.read(reading.folder, WORLD).halves(reading.limit)
    found = [
        ablate_model(
            options,
            halves,
            steps,
            reading.folder,
            own_head=removal.own_head,
            loading=reading.loading,
            stage=result.stage,
        )
        for options in requests
    ]
    if curves.figure is not None:
        write_figure(draw_curves({one["model"]: one["curves"] for one in found}, curves.unit), curves.figure)
    result.show([curves_json(one) for one in found], lambda console: show_curves(console, found))
