"""Flags of the commands that make heatmaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Option

from vitdecomp_alignment.cli.options import Components, Feature, Features, Settings, count

if TYPE_CHECKING:
    from vitdecomp_alignment.cli.heatmaps.methods import MethodConfig

Method = Annotated[tuple[str, ...], Option("--method", "--methods", help="An explainer, or all; repeatable.")]
Minus = Annotated[str | None, Option(help="A text or class that is subtracted from each of them.")]


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """Choose how the maps are made."""

    method: Method = ("decompose",)
    settings: Settings = ()
    components: Components = ()
    feature: Feature = None
    features: Features = ()
    top: Annotated[str | None, Option(help="Components of the feature: a number, or auto; default: 8.")] = None
    shifts: Annotated[int, Option(min=1, help="1, or 4, 9, ...: average over images shifted by parts of a patch.")] = 1

    @property
    def config(self) -> MethodConfig:
        """How the library is to make them."""
        from vitdecomp_alignment.cli.heatmaps.methods import MethodConfig

        return MethodConfig(
            self.method,
            self.settings,
            self.components,
            self.feature,
            self.features,
            8 if self.top is None else count(self.top),
            self.shifts,
        )
