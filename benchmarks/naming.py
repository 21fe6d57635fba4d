r"""Whether the names of components are true: by what can be read from them, and by what they vary along.

    python benchmarks/naming.py --out docs/benchmarks
    python benchmarks/naming.py --quick

The first text of a component should speak of the factor of the scenes that is best read from it, as probes on other
scenes tell. Components are named by `Readout` from the model's own space, by `TextSpan` behind maps of `ClosedForm`
(`scenes:clip` needs none), and by `Readout` with images shuffled. Roles are judged likewise. R^2 is stated for scenes
held out, and compared with R^2 on scenes that had no part in it. The strength of the ridge is chosen on one seed of
scenes, for all models together, and everything is reported on others. `--out` writes `naming.md`, `naming.json` and
`naming.png`, stated beside found R^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from naming_calibration import Calibration, draw
from one_line_errors import one_line_errors
from rich.console import Console
from sheets import Result, Sheet, write
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm, Readout, TextSpan
from vitdecomp_alignment.evaluation.naming import Agreement, FactorWords, agreement, first_factors, roles
from vitdecomp_alignment.texts import scene_features

from vitdecomp._utils.files import check_directory
from vitdecomp.component import Component
from vitdecomp.demo.subject import Subject, decompose
from vitdecomp.demo.world import World, scenes_world
from vitdecomp.models.prepare import ModelOptions

MODELS = ("scenes:clip", "scenes:deit", "scenes:dino", "scenes:swin", "scenes:maxvit")
CLIP = "scenes:clip"
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
GOAL = 0.60
HEADING = (
    "Whether names are true",
    "Cohen's kappa between the factor that a component's first text speaks of and the factor that is best read from it "
    f"by probes on other scenes: 1 is always right, 0 is chance. The goal is {GOAL:.2f}.\n\n"
    "![Stated and found R2](naming.png)",
)
WAYS = {
    "readout": "what can be read (`Readout`)",
    "grouped": "the same, where it is known what texts speak of",
    "role": "role, one word for each value (`--roles`)",
    "clear": "role, where it is clear",
    "variance": "what it varies along (`TextSpan`, maps of `ClosedForm`)",
    "variance, own": "the same, maps of `ClosedForm(prior='own')`",
    "shuffled": "`Readout`, images shuffled",
    "shuffled, grouped": "the same, where it is known what texts speak of, shuffled",
}


@dataclass(frozen=True)
class Scenes:
    """The scenes of one seed, as CLIP sees them."""

    world: World
    space: ClipSpace
    n: int

    @classmethod
    def of(cls, n: int, seed: int) -> Scenes:
        """Draw n scenes."""
        return cls(scenes_world(n, seed), ClipSpace(CLIP, device="cpu"), n)

    @cached_property
    def seen(self) -> Tensor:
        """CLIP's vectors, `(n, e)`."""
        return self.space.encode_image(list(self.world.pictures)).cpu()

    @cached_property
    def about(self) -> FactorWords:
        """The texts, with the factor that each speaks of."""
        return FactorWords.of(self.space, self.seen, self.world.labels)

    def subject(self, spec: str) -> Subject:
        """Decompose the representations of a model."""
        return decompose(ModelOptions(spec, device="cpu", seed=0), self.world, self.n)


@dataclass(frozen=True)
class Named:
    """One model on the scenes of one seed; probes have the even scenes, and names are made of the odd ones."""

    scenes: Scenes
    subject: Subject

    def readout(self, strength: float, *, roles: bool = False, shuffled: bool = False) -> Readout:
        """Name by what can be read, with the factor that each text speaks of or without."""
        seen, about = self.scenes.seen[1::2], self.scenes.about
        if shuffled:
            seen = seen[torch.randperm(len(seen), generator=torch.Generator().manual_seed(0))]
        texts, factors = tuple(about.factor_of), tuple(about.factor_of.values())
        readout = Readout(strength=strength, shuffles=0 if shuffled else 3)
        return readout.fit(self.subject.part(1)[0], seen, about.vectors, texts, features=factors if roles else None)

    def by_readout(self, strength: float, *, roles: bool = False, shuffled: bool = False) -> Agreement:
        """Judge names by what can be read."""
        return self.judged(first_factors(self.readout(strength, roles=roles, shuffled=shuffled), self.factor_of))

    def by_variance(self, prior: str) -> Agreement:
        """Judge names by what components vary along, in CLIP's space."""
        learned, c = self.subject.part(0)[0], self.subject.part(1)[0]
        if self.subject.name != CLIP:
            c = ClosedForm(prior=prior, random_state=0).fit(learned, self.scenes.seen[::2]).transform(c)
        span = TextSpan(m=1).fit(c, self.scenes.about.vectors, tuple(self.factor_of))
        return self.judged(first_factors(span, self.factor_of))

    def by_role(self, strength: float) -> tuple[Agreement, Agreement, float]:
        """Judge roles by one word a value, as `describe --roles` gives them: all, the clear ones, and their share."""
        words = [(word, factor) for factor, several in scene_features().items() for word in several]
        texts, factors = zip(*words, strict=True)
        vectors = self.scenes.space.encode_text(texts).cpu()
        readout = Readout(strength=strength)
        readout.fit(self.subject.part(1)[0], self.scenes.seen[1::2], vectors, texts, features=factors)
        every, clear = (self.judged(roles(readout, clear=only)) for only in (False, True))
        return every, clear, clear.components / every.components

    def calibration(self, strength: float) -> Calibration:
        """Compare the R^2 that is stated with that on the even scenes, which neither chose texts nor weights."""
        readout = self.readout(strength)
        fresh = readout.score(self.subject.part(0)[0], self.scenes.seen[::2])
        pairs = [
            (one.scores[0], one.errors[0], r2[0], one.named)
            for one, r2 in zip(readout.readings_, fresh, strict=True)
            if r2
        ]
        stated, errors, found, named = zip(*pairs, strict=True)
        return Calibration(stated, errors, found, named)

    @property
    def factor_of(self) -> Mapping[str, str]:
        """What each text speaks of."""
        return self.scenes.about.factor_of

    def judged(self, said: Mapping[Component, str]) -> Agreement:
        """Compare with what probes read."""
        return agreement(said, self.subject.knowledge, self.scenes.about.readers)


def choose(models: list[str], scenes: Scenes, console: Console) -> float:
    """Choose the strength with the largest mean kappa over models."""
    found: dict[float, list[float]] = {strength: [] for strength in STRENGTHS}
    for spec in models:
        named = Named(scenes, scenes.subject(spec))
        for strength in STRENGTHS:
            found[strength].append(named.by_readout(strength).kappa)
    for strength, kappas in found.items():
        console.print(f"strength {strength:g}: " + ", ".join(f"{kappa:.2f}" for kappa in kappas), highlight=False)
    return max(found, key=lambda strength: float(np.mean(found[strength])))


def report(spec: str, every: list[Scenes], strength: float) -> Result:
    """Compare the ways on fresh scenes."""
    found: dict[str, list[Agreement]] = {way: [] for way in WAYS}
    shares, calibrations = [], []
    for scenes in every:
        named = Named(scenes, scenes.subject(spec))
        found["readout"].append(named.by_readout(strength))
        found["grouped"].append(named.by_readout(strength, roles=True))
        role, clear, share = named.by_role(strength)
        found["role"].append(role)
        found["clear"].append(clear)
        found["variance"].append(named.by_variance("shared"))
        found["variance, own"].append(named.by_variance("own"))
        found["shuffled"].append(named.by_readout(strength, shuffled=True))
        found["shuffled, grouped"].append(named.by_readout(strength, roles=True, shuffled=True))
        shares.append(share)
        calibrations.append(named.calibration(strength))
    calibration = Calibration.joined(calibrations)
    rows = [
        [
            WAYS[way],
            *(f"{one.kappa:.2f}" for one in several),
            f"{np.mean([one.kappa for one in several]):.2f}",
            f"{np.mean([one.rate for one in several]):.0%}",
            f"{np.mean([one.chance for one in several]):.0%}",
        ]
        for way, several in found.items()
    ]
    seeds = [f"seed {number}" for number in range(1, len(every) + 1)]
    sheet = Sheet(spec, ("named by", *seeds, "mean kappa", "right", "chance"), rows)
    figures: dict[str, Any] = {
        way: [{"kappa": one.kappa, "rate": one.rate, "chance": one.chance, "components": one.components} for one in own]
        for way, own in found.items()
    }
    notes = [
        f"The strength of the ridge is {strength:g}, chosen on other scenes, with all models together",
        f"{np.mean(shares):.0%} of the components that know a factor have a clear role",
        calibration.sentence(),
    ]
    return Result({**figures, "calibration": asdict(calibration)}, [sheet], notes)


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable. Default: all embedded models.")] = None,
    n: Annotated[int, typer.Option("-n", min=100, help="Scenes of each seed.")] = 3000,
    tune: Annotated[int, typer.Option(min=0, help="Seed of the scenes that the strength is chosen on.")] = 61,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Seeds of the report.  [default: 64, 65, 66]")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for naming.md and naming.json.")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="One model, few scenes: to see that it works.")] = False,
) -> None:
    """Compare ways to name components."""
    models, seeds = (["scenes:deit"], [64]) if quick else (model or [*MODELS], seed or [64, 65, 66])
    n, console = 300 if quick else n, Console()
    with one_line_errors():
        if out is not None:
            check_directory(out)
        strength = choose(models, Scenes.of(n, tune), console)
        every = [Scenes.of(n, one) for one in seeds]
        results = {}
        for spec in models:
            results[spec] = report(spec, every, strength)
            console.print(results[spec].sheets[0].rich())
            if out is not None:
                settings = {"n": n, "tuned on seed": tune, "seeds": seeds, "strength": strength}
                write(out, "naming", HEADING, settings, results)
                draw({spec: Calibration(**one.figures["calibration"]) for spec, one in results.items()}, out)


if __name__ == "__main__":
    typer.run(main)
