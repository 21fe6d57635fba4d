r"""How near the components of the embedded models come to CLIP, how long it takes, and whether their names stay true.

    python benchmarks/alignment.py                                      every embedded model
    python benchmarks/alignment.py --model scenes:deit -n 4000 --seeds 3 --out docs/benchmarks

Every aligner learns from four fifths of the scenes and is measured on the others; the training as published, with its
schedule, stands beside them. `scenes:clip` is aligned with itself, where the identity is a perfect answer. Prints a
table for each model; `--out` writes the same as `alignment.md` and as `alignment.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from sheets import Result, Sheet, write
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm, CompAlign, TextSpan
from vitdecomp_alignment.clip.prompts import TEMPLATES
from vitdecomp_alignment.evaluation.judge import METHODS, Judgement, Make, Spread, judge, summarised
from vitdecomp_alignment.evaluation.match import Vocabulary
from vitdecomp_alignment.evaluation.naming import Agreement, FactorWords, agreement, first_factors

from vitdecomp.demo.subject import Subject, decompose
from vitdecomp.demo.world import World, scenes_world
from vitdecomp.models.prepare import ModelOptions

MODELS = ("scenes:clip", "scenes:deit", "scenes:dino", "scenes:swin", "scenes:maxvit")
CLIP = "scenes:clip"
HEADING = (
    "Alignments of the embedded models",
    "Means over the seeds, with standard deviations. Distance: 1 - cosine on scenes held out. Shuffled: the same for "
    "maps fitted to the vectors of other scenes. Named rightly: components whose first text speaks of the factor that "
    "is best read from them.",
)


def _published(epochs: int) -> Make:
    return lambda seed: CompAlign(
        init="random", coordinates="full", epochs=epochs, validation_fraction=0.0, random_state=seed
    )


ALL: Mapping[str, Make] = MappingProxyType(
    {
        **METHODS,
        "closed form, 2/3 kept": lambda seed: ClosedForm(keep=2 / 3, random_state=seed),
        "closed form, own prior": lambda seed: ClosedForm(prior="own", random_state=seed),
        "CompAlign x 100": lambda seed: CompAlign(orthogonality=100 / 768, random_state=seed),
        "as published, 1 epoch": _published(1),
        "as published, 10 epochs": _published(10),
    }
)
COLUMNS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "distance": ("distance", "{:.4f}"),
        "exact": ("match", "{:.1%}"),
        "approximate": ("near match", "{:.1%}"),
        "orthogonality": ("‖WᵀW − kI‖", "{:.3f}"),
        "identity": ("moved", "{:.1%}"),
        "shuffled": ("shuffled", "{:.4f}"),
        "seconds": ("seconds", "{:.1f}"),
    }
)


@dataclass(frozen=True)
class Settings:
    """What is measured: n scenes of a seed, with so many seeds of the aligners."""

    n: int
    seed: int
    seeds: int


def of(spec: str, world: World, seen: Tensor, space: ClipSpace, settings: Settings) -> Result:
    """Judge all aligners on one model."""
    subject = decompose(ModelOptions(spec, device="cpu", seed=settings.seed), world, settings.n)
    target = seen[: len(subject.world)]
    same = spec == space.spec
    about = FactorWords.of(space, seen, world.labels)
    judged = judge(
        subject.contributions,
        target,
        words=_itself(about) if same else _vocabulary(subject, space),
        same_space=same,
        methods=ALL,
        seeds=range(settings.seeds),
    )
    true = {name: _names(subject, target, about, [make] * settings.seeds) for name, make in ALL.items()}
    notes = [_chance(judged, true)]
    if same:
        notes.append(f"Without maps, {_names(subject, target, about, [None])[0].rate:.0%} are named rightly")
    figures = {
        "judgements": [asdict(j) for j in judged],
        "named": {name: [asdict(found) for found in several] for name, several in true.items()},
    }
    return Result(figures, [_sheet(spec, judged, true)], notes)


def _itself(about: FactorWords) -> Vocabulary:
    """Take the same words in both spaces."""
    return Vocabulary(tuple(about.factor_of), about.vectors, about.vectors)


def _vocabulary(subject: Subject, space: ClipSpace) -> Vocabulary | None:
    known = subject.prepared.loaded.classifier
    if known is None:
        return None
    texts = space.encode_text(known.names, templates=TEMPLATES).cpu()
    return Vocabulary(known.names, known.layer.weight.detach().float().cpu(), texts)


def _names(subject: Subject, target: Tensor, about: FactorWords, makes: Sequence[Make | None]) -> list[Agreement]:
    """Learned from the even scenes, named by the odd ones; as they are where there is no aligner."""
    found = []
    for seed, make in enumerate(makes):
        learned, c = subject.part(0)[0], subject.part(1)[0]
        mapped = c if make is None else make(seed).fit(learned, target[::2]).transform(c)
        span = TextSpan(m=1).fit(mapped, about.vectors, tuple(about.factor_of))
        said = first_factors(span, about.factor_of)
        found.append(agreement(said, subject.knowledge, about.readers))
    return found


def _sheet(spec: str, judged: list[Judgement], true: Mapping[str, list[Agreement]]) -> Sheet:
    figures = summarised(judged)
    known = [key for key in COLUMNS if key in next(iter(figures.values()))]
    rows = []
    for name, row in figures.items():
        rate = Spread.of([found.rate for found in true[name]])
        rows.append([name, *(_cell(row[key], COLUMNS[key][1]) for key in known), _cell(rate, "{:.0%}")])
    return Sheet(f"{spec} to {CLIP}", ["aligner", *(COLUMNS[key][0] for key in known), "named rightly"], rows)


def _cell(spread: Spread, form: str) -> str:
    mean = form.format(spread.mean)
    return f"{mean} ± {form.format(spread.deviation).rstrip('%')}" if spread.deviation > 1e-9 else mean


def _chance(judged: list[Judgement], true: Mapping[str, list[Agreement]]) -> str:
    row = next(iter(summarised(judged).values()))
    chance = np.mean([found.chance for several in true.values() for found in several])
    told = [f"distance of one vector for all scenes {row['constant'].mean:.4f}", f"named rightly {chance:.0%}"]
    if "exact" in row:
        told.append(f"match {row['exact_chance'].mean:.1%}, near match {row['approximate_chance'].mean:.1%}")
    return "By chance: " + "; ".join(told)


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable. Default: all embedded models.")] = None,
    n: Annotated[int, typer.Option("-n", min=100, help="Scenes.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, with other scenes held out.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder for alignment.md and alignment.json.")] = None,
) -> None:
    """Judge aligners on the embedded models."""
    settings, console = Settings(n, seed, seeds), Console()
    world = scenes_world(n, seed)
    space = ClipSpace(CLIP, device="cpu")
    seen = space.encode_image(list(world.pictures))
    results = {}
    for spec in model or MODELS:
        results[spec] = of(spec, world, seen, space, settings)
        for sheet in results[spec].sheets:
            console.print(sheet.rich())
        console.print(*results[spec].notes, "\n")
        if out is not None:
            write(out, "alignment", HEADING, asdict(settings), results)


if __name__ == "__main__":
    typer.run(main)
