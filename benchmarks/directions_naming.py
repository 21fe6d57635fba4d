r"""Whether the names of directions are true: by how much of what varies along them a factor of the scenes explains.

    python benchmarks/directions_naming.py --out docs/benchmarks
    python benchmarks/directions_naming.py --quick

Both poles of a direction get one text (`Comp`), which should speak of the factor that explains most of the variance of
the coefficients along it (one-way analysis of variance), if that is a fifth or more. Directions and maps into CLIP's
space come from the even scenes of a seed, the factors that explain them from the odd ones. Principal directions come
from contributions, singular ones from the model alone; random directions of the same components are the control.
`Readout` names the principal directions too, by what can be read from the coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from naming import CLIP, MODELS, Scenes
from one_line_errors import one_line_errors
from rich.console import Console
from sheets import Result, Sheet, write
from torch import Tensor
from vitdecomp_alignment import ClosedForm, Comp, Readout
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.cli.describe.coherent import seen_directions
from vitdecomp_alignment.evaluation.naming import Agreement

import vitdecomp as vd
from vitdecomp._utils.files import check_directory
from vitdecomp.component import Component
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.units import Directions, PrincipalDirections, SingularDirections, SplitSource

EXPLAINED = 0.2  # of the variance along a direction, from which on a factor is said to be what it shows
HEADING = (
    "Whether names of directions are true",
    "Cohen's kappa between the factor that a direction's text speaks of and the factor that explains most of the "
    "variance along it on other scenes: 1 is always right, 0 is chance. Known: directions of which a factor explains a "
    "fifth or more; COMP names both poles of each.",
)


def explained(a: Tensor, labels: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the share of the variance of coefficients that lies between the values of each factor."""
    away, found = a.double() - a.double().mean(), {}
    for factor, values in labels.items():
        groups = [away[torch.from_numpy(values == value)] for value in np.unique(values)]
        found[factor] = float(sum(len(one) * one.mean().square() for one in groups) / away.square().sum())
    return found


def factors_of(c: vd.Contributions, directions: Directions, labels: Mapping[str, np.ndarray]) -> dict[Component, str]:
    """Return the factor that explains most of each direction, of those that one explains well."""
    found = {}
    for unit in directions.units:
        if unit.index is not None:
            shares = explained(c[unit.parent] @ directions.bases[unit.parent][unit.index].to(c.values), labels)
            best = max(shares, key=lambda factor: shares[factor])
            if shares[best] >= EXPLAINED:
                found[unit.component] = best
    return found


def agreed(pairs: list[tuple[str, str]]) -> Agreement:
    """Compare what is said with what is true."""
    if not pairs:
        return Agreement(0, float("nan"), float("nan"))
    told, true = (np.array(column) for column in zip(*pairs, strict=True))
    chance = sum(float((told == factor).mean() * (true == factor).mean()) for factor in np.unique(true))
    return Agreement(len(pairs), float((told == true).mean()), chance)


def by_sums(
    directions: Directions,
    aligner: LinearAligner | None,
    true: Mapping[Component, str],
    scenes: Scenes,
) -> Agreement:
    """Judge both poles of every direction, each with the text that is nearest to it."""
    seen = [one for one in seen_directions(directions, aligner, (), 0) if one.unit in true]
    if not seen:
        return agreed([])
    vectors, texts = torch.stack([one.vector for one in seen]), scenes.about.vectors
    pool = tuple(scenes.about.factor_of)
    labels = Comp(m=1).fit(torch.cat([vectors, -vectors]), texts - texts.mean(0), pool).labels_ or ()
    pairs = zip(labels, [one.unit for one in seen] * 2, strict=True)
    return agreed([(scenes.about.factor_of[words[0]], true[unit]) for words, unit in pairs if words])


def by_readout(c: vd.Contributions, directions: Directions, true: Mapping[Component, str], scenes: Scenes) -> Agreement:
    """Judge the text that is best read from the coefficients along every direction."""
    pool, source = tuple(scenes.about.factor_of), SplitSource(c, directions)
    known = [unit for unit in source.components if unit in true]
    readout = Readout(m=1).fit(source, scenes.seen[::2], scenes.about.vectors, pool, components=known)
    pairs = zip(readout.labels_ or (), readout.components_, strict=True)
    return agreed([(scenes.about.factor_of[words[0]], true[unit]) for words, unit in pairs if words])


def of(spec: str, scenes: Scenes, k: int) -> dict[str, Agreement]:
    """Judge all ways on one model and the scenes of one seed."""
    subject = scenes.subject(spec)
    learned, judged = subject.part(0)[0], subject.part(1)[0]
    labels = {factor: scenes.world.labels[factor][1::2] for factor in scenes.about.readers}
    aligner = None if spec == CLIP else ClosedForm(prior="own").fit(learned, scenes.seen[::2])
    principal = PrincipalDirections(k).fit(learned).directions_
    prepared = prepare(ModelOptions(spec, device="cpu"))
    image = prepared.example(None, 1)[0]
    singular = SingularDirections(k).fit(vd.Decomposer(prepared.loaded).fit(image), image).directions_
    ways = {"principal": principal, "singular": singular, "random": principal.random(0)}
    true = {way: factors_of(judged, directions, labels) for way, directions in ways.items()}
    found = {f"{way}, COMP": by_sums(directions, aligner, true[way], scenes) for way, directions in ways.items()}
    return {**found, "principal, readout": by_readout(learned, principal, true["principal"], scenes)}


def report(spec: str, every: list[Scenes], k: int) -> Result:
    """Compare the ways on fresh scenes."""
    found = [of(spec, scenes, k) for scenes in every]
    rows, figures = [], {}
    for way in found[0]:
        several = [one[way] for one in found]
        figures[way] = [{"kappa": one.kappa, "right": one.rate, "known": one.components} for one in several]
        means = (np.mean([getattr(one, name) for one in several]) for name in ("kappa", "rate", "chance"))
        kappa, rate, chance = (float(mean) for mean in means)
        known = float(np.mean([one.components for one in several]))
        rows.append(
            [
                way,
                *(f"{one.kappa:.2f}" for one in several),
                f"{kappa:.2f}",
                f"{rate:.0%}",
                f"{chance:.0%}",
                f"{known:.0f}",
            ]
        )
    seeds = [f"seed {number}" for number in range(1, len(every) + 1)]
    return Result(figures, [Sheet(spec, ("named", *seeds, "mean kappa", "right", "chance", "names"), rows)])


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable. Default: all embedded models.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Directions of each component.")] = 2,
    n: Annotated[int, typer.Option("-n", min=100, help="Scenes of each seed.")] = 2000,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Seeds of the report.  [default: 64, 65, 66]")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for directions_naming.md and directions_naming.json.")
    ] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="One model, few scenes: to see that it works.")] = False,
) -> None:
    """Compare ways to name directions of components."""
    models, seeds = (["scenes:clip"], [64]) if quick else (model or [*MODELS], seed or [64, 65, 66])
    n, console = 300 if quick else n, Console(width=120)
    with one_line_errors():
        if out is not None:
            check_directory(out)
        every, results = [Scenes.of(n, one) for one in seeds], {}
        for spec in models:
            results[spec] = report(spec, every, k)
            console.print(results[spec].sheets[0].rich())
            if out is not None:
                write(out, "directions_naming", HEADING, {"k": k, "n": n, "seeds": seeds}, results)


if __name__ == "__main__":
    typer.run(main)
