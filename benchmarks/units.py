r"""What units finer than heads are worth: a cue removed by directions inside components, and by whole components.

    python benchmarks/units.py --out docs/benchmarks
    python benchmarks/units.py --quick

On scenes-waterbirds, where class (shape) and place go together in training. Components and their units are ranked by
the score of the cue's words minus that of the core words, in CLIP's space, and the first of them are replaced by their
mean over the training images. Of each way: *selectivity*, the largest loss of a reader of the place minus that of a
reader of the class, where the class loses at most `--loss`; and the worst group of a head that learned from 40 images
in all of which class and place go together. How many are removed is chosen on scenes of another seed (`--chosen-on`),
and everything is reported on the test images of seed 0. *Reweighted*: the same heads behind a scale for each unit,
learned from all training images, of which 5% are of a minority group. Principal directions come from the training
images, singular directions from the model alone, and random ones are the control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from debias import CLIP, FEW, MODELS, WORDS, Part, loaded, tied
from one_line_errors import one_line_errors
from PIL import Image
from rich.console import Console
from sheets import Result, Sheet, write
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm
from vitdecomp_alignment.cli.debias.debiasing import CORE, SPURIOUS, WORLD

import vitdecomp as vd
from vitdecomp._utils.files import cache_directory, check_directory
from vitdecomp.ablation.accuracy import GroupAccuracy
from vitdecomp.ablation.linear_head import LinearHead
from vitdecomp.ablation.reweighting import best_scales
from vitdecomp.component import Component
from vitdecomp.datasets.grouped import Grouped, read
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.scenes.folder import cached_scenes
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.source import Source
from vitdecomp.units import Directions, PrincipalDirections, SingularDirections, SplitSource

STEPS = 120  # numbers of removed units that are tried
REWEIGHTED, STRENGTH = 3, 1.0  # heads behind learned scales, as `SpectralReweighting` learns them
BATCH = 256  # images whose units are multiplied at a time
HEADING = (
    "Units finer than heads",
    "Selectivity: the largest loss of accuracy of a reader of the place minus that of a reader of the class, while the "
    "class loses at most the loss allowed. Worst group and average: of a head that learned from 40 images in which "
    "class and place always go together. How many units are removed is chosen on scenes of another seed. Reweighted: "
    "with a scale for each unit instead, learned from all training images, of which 5% are of a minority group. "
    "Correlation: ranked by the published score; all others by the share of the variance along the words.",
)
GOALS = "Goals: selectivity 0.2 above that of whole components, worst group 5 points above them at equal average"


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        k: directions of each component. seeds: heads. loss: of the class that is allowed.
        chosen_on: seed of the scenes on which it is chosen how many are removed. prior: of the maps.
        strength: C of the logistic regression of the heads.
    """

    k: int
    seeds: int
    loss: float
    chosen_on: int
    prior: str
    strength: float = 0.01


@dataclass(frozen=True)
class Data:
    """The images of one model: to learn from, to choose on, and to report on."""

    train: Part
    chosen: Part
    test: Part

    @classmethod
    def of(cls, model: str, world: Grouped, other: Grouped, place: Path) -> Data:
        """Decompose them, or read what was kept."""
        train, test = loaded(model, world, place)
        return cls(train, loaded(model, other, place)[1], test)


@dataclass(frozen=True)
class Way:
    """One way to split a model, and a ranking by the cue.

    Attributes:
        directions: that split components; `None` for whole ones. ranking: the units, constants left out.
    """

    directions: Directions | None
    ranking: Sequence[Component]

    @property
    def counts(self) -> list[int]:
        """Return how many units are removed, from none to all."""
        n = len(self.ranking)
        return sorted({0, *range(1, min(n, STEPS // 4)), *np.linspace(1, n, STEPS).round().astype(int).tolist()})

    def logits(self, head: LinearHead, data: Data, part: Part) -> list[Tensor]:
        """Compute the logits of images without the first units of the ranking, for every count."""
        own = self.added(head, part.c) - self.added(head, data.train.c).mean(0)
        gone, whole = own.cumsum(2), head(part.c.total())
        return [whole - gone[:, :, k - 1] if k else whole for k in self.counts]

    def added(self, head: LinearHead, c: vd.Contributions) -> Tensor:
        """Compute what each unit of the ranking adds to the logits, `(n, class, unit)`."""
        w, parts = head.weight.to(c.values), []
        units = c.components if self.directions is None else [one.component for one in self.directions.units]
        place = {unit: i for i, unit in enumerate(units)}
        order = [place[unit] for unit in self.ranking]
        for start in range(0, len(c), BATCH):
            some = c.take(range(start, min(start + BATCH, len(c))))
            if self.directions is None:
                parts.append(torch.einsum("qd,nkd->nqk", w, some.values)[:, :, order])
            else:
                parts.append(self.directions.products(some, w.expand(len(some), -1, -1))[:, :, order])
        return torch.cat(parts)


def ranked(source: Source, texts: Mapping[str, Tensor], measure: str) -> list[Component]:
    """Rank units in the space of texts, those first that speak most of the cue and least of the core."""
    center = "feature" if measure == "share" else "none"
    scorer = vd.FeatureScorer(measure=measure, center=center, bootstrap=0, shuffles=0).fit(source, texts)
    return [one for one in scorer.contrast(SPURIOUS, CORE) if not one.is_constant]


def ways(model: str, train: Part, texts: Mapping[str, Tensor], settings: Settings) -> dict[str, Way]:
    """Split a model in every way."""
    aligner = None if model == CLIP else ClosedForm(prior=settings.prior).fit(train.c, train.vectors)
    principal = PrincipalDirections(settings.k).fit(train.c).directions_
    prepared = prepare(ModelOptions(model, device="cpu"))
    noise = prepared.batch([Image.new("RGB", (64, 64))]).shape
    image = torch.rand(noise, generator=torch.Generator().manual_seed(0))
    singular = SingularDirections(settings.k).fit(vd.Decomposer(prepared.loaded).fit(image), image).directions_
    asked: dict[str, tuple[Directions | None, str]] = {
        "components, correlation": (None, "mean"),
        "components": (None, "share"),
        "principal": (principal, "share"),
        "singular": (singular, "share"),
        "random directions": (principal.random(0), "share"),
    }
    found = {}
    for name, (directions, measure) in asked.items():
        units: Source = train.c if directions is None else SplitSource(train.c, directions)
        maps = aligner if directions is None or aligner is None else aligner.split(directions)
        known = {*units.components}
        order = ranked(units if maps is None else Aligned(units, maps), texts, measure)
        found[name] = Way(directions, [one for one in order if one in known])
    return found


def judged(logits: Sequence[Tensor], labels: np.ndarray, groups: np.ndarray) -> list[GroupAccuracy]:
    """Judge the logits of every count."""
    return [GroupAccuracy.of(one, labels, groups) for one in logits]


def selectivity(way: Way, data: Data, loss: float) -> dict[str, float]:
    """Measure what readers of the place and of the class lose."""
    lost = {}
    for name, labels in (("cue", lambda images: images.groups % 2), ("class", lambda images: images.labels)):
        head = LinearHead.fit(data.train.c.total(), labels(data.train.images), 2, balanced=True)
        for when, part in (("chosen", data.chosen), ("test", data.test)):
            found = judged(way.logits(head, data, part), labels(part.images), part.images.groups)
            averages = np.array([one.average for one in found])
            lost[when, name] = averages[0] - averages
    gain = lost["chosen", "cue"] - lost["chosen", "class"]
    best = int(np.where(lost["chosen", "class"] <= loss, gain, -np.inf).argmax())
    cue, core = (float(lost["test", name][best]) for name in ("cue", "class"))
    return {"k": way.counts[best], "cue": cue, "class": core, "selectivity": cue - core}


def drawn_head(few: Part, seed: int, settings: Settings) -> LinearHead:
    """Fit a head to 40 images of the tied setting."""
    source, labels = np.random.default_rng([seed, 0]), few.images.labels
    rows = [source.permutation(np.flatnonzero(labels == one))[: FEW // 2] for one in np.unique(labels)]
    mine = np.concatenate(rows)
    return LinearHead.fit(few.c.total()[torch.from_numpy(mine)], labels[mine], 2, strength=settings.strength)


def worst_group(way: Way, data: Data, settings: Settings) -> dict[str, float]:
    """Measure the worst group, averaged over heads; k is the same for all of them."""
    few, curves = tied(data.train), []
    for seed in range(settings.seeds):
        head = drawn_head(few, seed, settings)
        chosen, test = (
            judged(way.logits(head, data, part), part.images.labels, part.images.groups)
            for part in (data.chosen, data.test)
        )
        curves.append([(one.worst, other.worst, other.average) for one, other in zip(chosen, test, strict=True)])
    mean = np.array(curves).mean(0)
    best = int(mean[:, 0].argmax())
    before, worst, average = float(mean[0, 1]), float(mean[best, 1]), float(mean[best, 2])
    return {"k": way.counts[best], "before": before, "worst": worst, "average": average}


def reweighted(way: Way, data: Data, settings: Settings) -> dict[str, float]:
    """Measure the same heads behind learned scales, of components or of units."""
    few, found = tied(data.train), []
    for seed in range(min(settings.seeds, REWEIGHTED)):
        head = drawn_head(few, seed, settings)
        learned = way.added(head, data.train.c).double()
        away, total = learned - learned.mean(0), head(data.train.c.total()).double()
        scales = best_scales(away.transpose(1, 2), total - away.sum(2), data.train.images.labels, STRENGTH)
        test = way.added(head, data.test.c).double() - learned.mean(0)
        logits = head(data.test.c.total()) - (test * (1 - scales)).sum(2)
        judge = GroupAccuracy.of(logits, data.test.images.labels, data.test.images.groups)
        found.append((judge.worst, judge.average))
    worst, average = np.array(found).mean(0).tolist()
    return {"worst": worst, "average": average, "scales": len(way.ranking)}


def of(model: str, data: Data, texts: Mapping[str, Tensor], settings: Settings) -> Result:
    """Measure every way on one model."""
    figures = {
        name: {
            "selectivity": selectivity(way, data, settings.loss),
            "worst group": worst_group(way, data, settings),
            "reweighted": reweighted(way, data, settings),
        }
        for name, way in ways(model, data.train, texts, settings).items()
    }
    rows = []
    for name, found in figures.items():
        one, other = found["selectivity"], found["worst group"]
        cells = [f"{one['k']}", *(f"{one[key]:.2f}" for key in ("cue", "class", "selectivity"))]
        removed = [f"{other['k']}", *(f"{100 * other[key]:.1f}" for key in ("worst", "average"))]
        scaled = [f"{100 * found['reweighted'][key]:.1f}" for key in ("worst", "average")]
        rows.append([name, *cells, *removed, *scaled])
    before = 100 * figures["components"]["worst group"]["before"]
    header = ("removed", "k", "loss of place", "loss of class", "selectivity", "k", "worst group", "average")
    header += ("reweighted: worst", "average")
    return Result(figures, [Sheet(model, header, rows)], [f"Before, the worst group is {before:.1f}"])


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable. Default: all embedded models.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Directions of each component.")] = 16,
    seeds: Annotated[int, typer.Option(min=1, help="Heads, each of other images.")] = 6,
    loss: Annotated[float, typer.Option(help="Loss of the class that is allowed.")] = 0.02,
    chosen_on: Annotated[int, typer.Option(min=1, help="Seed of the scenes on which k is chosen.")] = 1,
    prior: Annotated[str, typer.Option(help="Of the maps: shared or own.")] = "shared",
    out: Annotated[Path | None, typer.Option(help="Folder for units.md and units.json.")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="One model and few heads: to see that it works.")] = False,
) -> None:
    """Compare removal by units with removal by components."""
    settings = Settings(k, 2 if quick else seeds, loss, chosen_on, prior)
    place, console = cache_directory(), Console(width=150)
    with one_line_errors():
        if out is not None:
            check_directory(out)
        world, other = (
            read(cached_scenes(place, WORLD, "train", "test", subset="waterbirds", seed=seed))
            for seed in (0, chosen_on)
        )
        space, results = ClipSpace(CLIP, device="cpu"), {}
        texts = {name: space.encode_text(words).cpu() for name, words in WORDS.items()}
        for spec in ["scenes:deit"] if quick else (model or MODELS):
            results[spec] = of(spec, Data.of(spec, world, other, place), texts, settings)
            console.print(results[spec].sheets[0].rich(), *results[spec].notes)
            if out is not None:
                write(out, "units", HEADING, asdict(settings), results)
        console.print(GOALS)


if __name__ == "__main__":
    typer.run(main)
