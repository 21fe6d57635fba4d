"""`vitdecomp debias`: remove a spurious cue from a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from vitdecomp.cli.command import Alias, command
from vitdecomp.cli.options import (
    By,
    CachedOptions,
    LabelledOptions,
    Model,
    RemovalOptions,
    ResultOptions,
    SingleModelOptions,
)
from vitdecomp_alignment.cli.options import CenterTexts, Clip, Maps, Measure, Split, count

if TYPE_CHECKING:
    from vitdecomp.datasets.grouped import Grouped
    from vitdecomp_alignment.cli.debias.debiasing import DebiasConfig


@dataclass(frozen=True, slots=True)
class CueOptions:
    """Choose the cue to remove, and how to measure its removal."""

    spurious: Annotated[str, Option(help="Words of the cue, separated by commas.")]
    core: Annotated[str, Option(help="Words of what should decide the class instead.")]
    top: Annotated[str, Option(help="Components to remove: a number, or auto."), Alias("--k")] = "10"
    subspace: Annotated[bool, Option("--subspace", help="Only what the cue's words see of them.")] = False
    zero_shot: Annotated[
        str, Option(help="A text for each class, separated by commas, as the head of a CLIP; default: one is fitted.")
    ] = ""
    refit: Annotated[bool, Option("--refit", help="Fit the head again to what is left.")] = False
    share: Annotated[float, Option(help="Of the training images that a head learns from.")] = 0.8
    strength: Annotated[float, Option(help="Inverse of the head's regularization.")] = 1.0
    balanced: Annotated[bool, Option("--balanced", help="Classes count the same.")] = False
    seeds: Annotated[int, Option(min=1, help="Repetitions.")] = 3
    out: Annotated[
        Path | None, Option(help="Write the first seed's classifier without the cue, a module as safetensors.")
    ] = None
    maps: Maps = None
    clip: Clip = None
    align: Annotated[
        str, Option(help="Without --maps, how maps are fitted to --clip: closed-form, compalign or linear.")
    ] = "closed-form"
    by: By = "head"
    directions: Split = "0"
    center_texts: CenterTexts = "none"
    measure: Measure = "mean"

    def config(self, removal: RemovalOptions) -> DebiasConfig:
        """Give them to the library."""
        from vitdecomp.ablation import Plan
        from vitdecomp.units import AskedDirections
        from vitdecomp_alignment.cli.debias.debiasing import DebiasConfig

        plan = Plan(
            k=count(self.top),
            value=removal.value,
            share=self.share,
            strength=self.strength,
            balanced=self.balanced,
            refit=self.refit,
            seeds=self.seeds,
            draws=removal.draws,
        )
        spurious, core = (tuple(word.strip() for word in text.split(",")) for text in (self.spurious, self.core))
        return DebiasConfig(
            spurious=spurious,
            core=core,
            plan=plan,
            maps=self.maps,
            clip=self.clip,
            align=self.align,
            by=self.by,
            directions=AskedDirections.parse(self.directions),
            center=self.center_texts,
            measure=self.measure,
            own_head=removal.own_head,
            zero_shot=tuple(word.strip() for word in self.zero_shot.split(",")) if self.zero_shot else (),
            subspace=self.subspace,
            out=self.out,
        )


@command
def debias(
    model: Model,
    *,
    cue: CueOptions,
    removal: RemovalOptions,
    labelled: LabelledOptions,
    loading: SingleModelOptions,
    reading: CachedOptions,
    result: ResultOptions,
) -> None:
    """Rank components by a spurious cue, remove the first, and measure every group before and after."""
    from vitdecomp_alignment.cli.debias.debiasing import WORLD, remove
    from vitdecomp_alignment.cli.debias.show import show_removal

    config = cue.config(removal)

    def halves() -> tuple[Grouped, Grouped]:
        return labelled.read(reading.folder, WORLD, "waterbirds").halves(reading.limit)

    found = remove(loading.of(model), halves, config, reading.folder, loading=reading.loading, stage=result.stage)
    result.show(found.to_json(), lambda console: show_removal(console, found))
