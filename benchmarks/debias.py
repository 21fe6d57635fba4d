r"""Cue removal on scenes-waterbirds: what every embedded model's worst group gains, with controls and seeds.

    python benchmarks/debias.py                                         every embedded model, 20 seeds
    python benchmarks/debias.py --model scenes:swin --seeds 5 --out docs/benchmarks

In 95% of the 2,000 training images class and place go together; in the 2,000 test images, which all accuracies are of,
they are independent. Two settings. `tied`: a head learns from 40 training images (20 of each class) in all of which
class and place go together, so that nothing tells it which of the two is meant, and is strongly regularised
(`--strength`). `standard`: it learns from 1,600 training images with scikit-learn's usual strength. A head is fitted
for each seed to another draw of images, and but for one method never again. Maps into CLIP's space, scores and means
are of all training images; they need no labels. `--out` writes the tables as `debias.md`, all figures as `debias.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from sheets import Result, Sheet, write
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.cli.debias.debiasing import CORE, SPURIOUS, WORLD, seen, summarised

from vitdecomp import Contributions, FeatureScorer, VitdecompError
from vitdecomp._utils.files import cache_directory
from vitdecomp.ablation import Labelled, Plan, debias
from vitdecomp.ablation.choice import disagreeing
from vitdecomp.ablation.linear_head import LinearHead
from vitdecomp.component import Component
from vitdecomp.datasets.grouped import Grouped, read
from vitdecomp.extract import ExtractConfig, cached
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.scenes.folder import cached_scenes

MODELS = tuple(f"scenes:{name}" for name in ("clip", "deit", "dino", "swin", "maxvit"))
CLIP = "scenes:clip"
WORDS: Mapping[str, tuple[str, ...]] = {
    SPURIOUS: (
        "water", "ocean", "snow", "winter", "night sky", "stars", "forest", "trees", "sand", "desert", "bricks",
        "meadow", "grass",
    ),
    CORE: ("square", "triangle", "star", "cross", "arrow", "circle", "ring", "heart", "moon", "hexagon"),
}  # fmt: skip
FEW = 40  # images that a head of the tied setting learns from
USUAL = 3  # seeds of the standard setting, whose draws differ little
METHODS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "10 components": {"k": 10},
        "30 components": {"k": 30},
        "10 components, zero": {"k": 10, "value": "zero"},
        "10 components, head refitted": {"k": 10, "refit": True},
        "cue in 10 components": {"k": 10, "subspace": True},
        "cue in 30 components": {"k": 30, "subspace": True},
        "auto": {"k": "auto"},
        "cue in auto": {"k": "auto", "subspace": True},
    }
)
CONTROLS = ("random", "core words", "random directions")
HEADING = (
    "Cue removal on the embedded models",
    "Worst group and average of the groups, means over seeds with standard deviations; gains in points. What the worst "
    "group gains when as many components are taken at random, when those of the core words are, and when random "
    "directions are replaced in the same components, stands in the last columns. Tied: a head learns from 40 images, "
    "in all of which class and place go together. Standard: from 1,600, of which 5% are of a minority group.",
)


@dataclass(frozen=True)
class Part:
    """Contributions to some images in memory, CLIP's vectors of them, and the images."""

    c: Contributions
    vectors: Tensor
    images: Grouped

    def at(self, rows: np.ndarray) -> Part:
        return Part(self.c.take(rows.tolist()), self.vectors[torch.from_numpy(rows)], self.images.at(rows))

    @property
    def labelled(self) -> Labelled:
        return Labelled(self.c, self.images.labels, self.images.groups)


@dataclass(frozen=True)
class Subject:
    """A model's contributions to both splits, and what texts see of them."""

    train: Part
    test: Part
    texts: Mapping[str, Tensor]
    aligner: LinearAligner | None
    ranking: list[Component]

    @classmethod
    def of(cls, model: str, data: Grouped, space: ClipSpace, cache: Path, prior: str) -> Subject:
        """Contributions, maps fitted to the training images, and the ranking by spurious minus core score."""
        train, test = loaded(model, data, cache)
        texts = {name: space.encode_text(words).cpu() for name, words in WORDS.items()}
        aligner = None if model == CLIP else ClosedForm(prior=prior).fit(train.c, train.vectors)
        aligned = train.c if aligner is None else aligner.transform(train.c)
        scorer = FeatureScorer(bootstrap=0, shuffles=0).fit(aligned, texts)
        ranking = [c for c in scorer.contrast(SPURIOUS, CORE) if c in train.c.components]
        return cls(train, test, texts, aligner, ranking)

    @property
    def cue(self) -> Tensor:
        """The spurious words without what they share, which says that there is a picture."""
        return self.texts[SPURIOUS] - self.texts[SPURIOUS].mean(0)

    def seen(self, part: Part) -> np.ndarray:
        """Compute what the spurious words see of some images."""
        return seen(part.c if self.aligner is None else self.aligner.transform(part.c), self.texts[SPURIOUS])


def loaded(model: str, data: Grouped, cache: Path) -> tuple[Part, Part]:
    """Return both splits as a model takes them apart, and as CLIP sees them."""
    subject, seer, found = prepare(ModelOptions(model, device="cpu")), prepare(ModelOptions(CLIP, device="cpu")), []
    for split in ("train", "test"):
        part = data.part(split)
        stores = [
            cached(prepared, ExtractConfig(part, by), cache)
            for prepared, by in ((subject, "head"), (seer, "representation"))
        ]
        c, whole = (store.take(range(len(store))) for store in stores)
        found.append(Part(c, whole.total(), part))
    return found[0], found[1]


def tied(train: Part) -> Part:
    """Select the images in which class and place go together."""
    return train.at(np.flatnonzero(~minority(train.images)))


def minority(images: Grouped) -> np.ndarray:
    """Check whether class and place of an image do not go together; groups are numbered 2 class + place."""
    return np.isin(images.groups, (1, 2))


def measure(subject: Subject, few: Part, plan: Plan) -> dict[str, Any]:
    """Return every method in one setting; heads learn from `few`, all else from all training images."""
    found: dict[str, Any] = {}
    cue_of_few = subject.seen(few)
    for name, method in METHODS.items():
        settings = {key: value for key, value in method.items() if key != "subspace"}
        if method.get("subspace"):
            settings |= {"directions": subject.cue, "aligner": subject.aligner}
        try:
            runs = debias(
                few.labelled,
                subject.test.labelled,
                subject.ranking,
                replace(plan, **settings),
                pool=subject.train.c,
                cue=cue_of_few,
                others={"core words": subject.ranking[::-1]},
            )
        except VitdecompError as error:
            found[name] = {"refused": str(error)}
            continue
        rows = {row["representation"]: {k: row[k] for k in ("worst", "average")} for row in summarised(runs)}
        found[name] = {"k": [len(run.components) for run in runs], **rows}
    return found


def sheet(title: str, found: Mapping[str, Any]) -> Sheet:
    """Write a row for each method that could be used."""
    header = ["taken away", "k", "worst group", "gain", "average", "gain", *CONTROLS]
    rows = []
    for name, row in found.items():
        if "refused" not in row:
            means = [cell for key in ("worst", "average") for cell in _change(row["before"][key], row["after"][key])]
            first = row["before"]["worst"][0]
            controls = [_points(row[one]["worst"][0] - first) if one in row else "" for one in CONTROLS]
            rows.append([name, f"{np.mean(row['k']):.0f}", *means, *controls])
    return Sheet(title, header, rows)


def _change(before: tuple[float, float], after: tuple[float, float]) -> tuple[str, str]:
    told = " to ".join(f"{100 * mean:.1f} ± {100 * spread:.1f}" for mean, spread in (before, after))
    return told, _points(after[0] - before[0])


def _points(gain: float) -> str:
    return f"{100 * gain:+.1f}"


def pseudo_groups(subject: Subject) -> dict[str, float]:
    """Measure how well images on which cue and class disagree, or a head's errors, stand in for the minority."""
    train, labels, few = subject.train, subject.train.images.labels, minority(subject.train.images)
    disagree = disagreeing(subject.seen(train), labels)
    half = np.arange(len(labels)) % 2 == 0
    wrong = np.zeros(len(labels), dtype=bool)
    for learn in (half, ~half):
        x = train.c.total()
        head = LinearHead.fit(x[torch.from_numpy(learn)], labels[learn], 2)
        wrong[~learn] = head(x[torch.from_numpy(~learn)]).argmax(1).numpy() != labels[~learn]
    return {
        "precision": float(few[disagree].mean()),
        "recall": float(disagree[few].mean()),
        "errors": float(wrong[few].mean()),
    }


@dataclass(frozen=True)
class Settings:
    """Repetitions, the inverse regularisation of a head in the tied setting, and the prior of the closed form."""

    seeds: int
    strength: float
    prior: str


def of(model: str, data: Grouped, space: ClipSpace, cache: Path, settings: Settings) -> Result:
    """Return both settings on one model."""
    subject = Subject.of(model, data, space, cache, settings.prior)
    few = tied(subject.train)
    usual = min(settings.seeds, USUAL)
    both = {
        "tied": (few, Plan(strength=settings.strength, share=FEW / len(few.images), seeds=settings.seeds)),
        "standard": (subject.train, Plan(strength=1.0, share=0.8, seeds=usual)),
    }
    figures: dict[str, Any] = {name: measure(subject, part, plan) for name, (part, plan) in both.items()}
    stand_in = pseudo_groups(subject)
    note = (
        f"Of the training images on which cue and class disagree {stand_in['precision']:.0%} are of a minority group, "
        f"which is {stand_in['recall']:.0%} of these groups; the errors of a head hold {stand_in['errors']:.0%} of them"
    )
    sheets = [sheet(f"{model}, {name}", found) for name, found in figures.items()]
    first = [component.name for component in subject.ranking[:20]]
    return Result({**figures, "pseudo_groups": stand_in, "components": first}, sheets, [note])


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable. Default: all embedded models.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Heads, each of other images.")] = 20,
    strength: Annotated[float, typer.Option(help="C of the logistic regression in the tied setting.")] = 0.01,
    prior: Annotated[str, typer.Option(help="Of the closed form: shared or own.")] = "shared",
    out: Annotated[Path | None, typer.Option(help="Folder for debias.md and debias.json.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of contributions.")] = None,
) -> None:
    """Take a spurious cue out of the embedded models."""
    place, settings, console = cache or cache_directory(), Settings(seeds, strength, prior), Console(width=150)
    data = read(cached_scenes(place, WORLD, "train", "test", subset="waterbirds"))
    space, results = ClipSpace(CLIP, device="cpu"), {}
    for name in model or MODELS:
        results[name] = of(name, data, space, place, settings)
        for one in results[name].sheets:
            console.print(one.rich())
        console.print(*results[name].notes, "\n")
        if out is not None:
            write(out, "debias", HEADING, asdict(settings), results)


if __name__ == "__main__":
    typer.run(main)
