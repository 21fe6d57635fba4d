r"""What units finer than heads are worth: a cue removed by directions inside components, and by whole components.

    python benchmarks/units.py --out docs/benchmarks
    python benchmarks/units.py --quick

On scenes-waterbirds, where class (shape) and place go together in training. Components and their units are ranked by
the spurious minus the core words' score, in CLIP's space, and the first k of them are replaced by their mean. Of each
way: *selectivity*, the largest loss of a reader of the place minus that of a reader of the class, where the class
loses at most `--loss`; and the worst group of a head that learned from 40 images in all of which class and place go
together. k is chosen on half of the test images and everything is reported on the other half. *Reweighted*: the same
heads behind a scale for each unit, learned from all training images, of which 5% are of a minority group. Principal
directions come from the training images, singular directions from the model alone, and random ones are the control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

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
from vitdecomp.ablation.effects import Effects, effects
from vitdecomp.ablation.linear_head import LinearHead
from vitdecomp.ablation.reweighting import SpectralReweighting
from vitdecomp.component import Component
from vitdecomp.datasets.grouped import read
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.scenes.folder import cached_scenes
from vitdecomp.units import Directions, PrincipalDirections, SingularDirections

COUNTS = (1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250, 300, 400)
REWEIGHTED = 3  # heads behind learned scales
HEADING = (
    "Units finer than heads",
    "Selectivity: the largest loss of accuracy of a reader of the place minus that of a reader of the class, while the "
    "class loses at most the loss allowed. Worst group and average: of a head that learned from 40 images in which "
    "class and place always go together. k is chosen on half of the test images; all is of the other half. Reweighted: "
    "with a scale for each unit instead, learned from all training images, of which 5% are of a minority group.",
)
GOALS = "Goals: selectivity 0.2 above that of whole components, worst group 5 points above them at equal average"


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        k: directions of each component. seeds: heads. loss: of the class that is allowed. strength: of the heads.
    """

    k: int
    seeds: int
    loss: float
    strength: float


@dataclass(frozen=True)
class Split:
    """A model split in one way: contributions, and a ranking by the cue."""

    train: vd.Contributions
    test: vd.Contributions
    ranking: Sequence[Component]

    def taken(self, head: LinearHead) -> list[tuple[int, Tensor]]:
        """Return the test images' logits without the first k of the ranking, for each k; 0 is the head itself."""
        ablator = vd.Ablator(list(self.ranking), value="mean").fit(self.train)
        found = Effects.joined(list(effects(self.test, ablator, head)))
        counts = [0, *(k for k in COUNTS if k <= len(self.ranking))]
        return [(k, found.without(self.ranking[:k])) for k in counts]


def ranked(c: vd.Contributions, texts: Mapping[str, Tensor]) -> list[Component]:
    """Rank components in the space of texts, those first that speak most of the cue and least of the core.

    The difference of scores is multiplied by the standard deviation, since what hardly varies changes nothing.
    """
    scorer = vd.FeatureScorer(bootstrap=0, shuffles=0).fit(c, texts)
    spurious, core = (scorer.scores_[scorer.features_.index(name)] for name in (SPURIOUS, CORE))
    size = dict(zip(c.components, c.values.var(0).sum(1).sqrt().tolist(), strict=True))
    weight = {one: float(s - t) * size[one] for one, s, t in zip(scorer.components_, spurious, core, strict=True)}
    return sorted((one for one in weight if not one.is_constant), key=lambda one: -weight[one])


def splits(model: str, train: Part, test: Part, texts: Mapping[str, Tensor], k: int) -> dict[str, Split]:
    """Split a model in every way."""
    aligner = None if model == CLIP else ClosedForm(prior="own").fit(train.c, train.vectors)
    principal = PrincipalDirections(k).fit(train.c).directions_
    prepared = prepare(ModelOptions(model, device="cpu"))
    image = torch.rand(prepared.batch([Image.new("RGB", (64, 64))]).shape, generator=torch.Generator().manual_seed(0))
    singular = SingularDirections(k).fit(vd.Decomposer(prepared.loaded).fit(image), image).directions_
    ways: dict[str, Directions | None] = {
        "components": None,
        "principal": principal,
        "singular": singular,
        "random directions": principal.random(0),
    }
    found = {}
    for name, directions in ways.items():
        if directions is None:
            own, maps = (train.c, test.c), aligner
        else:
            own = (directions.transform(train.c), directions.transform(test.c))
            maps = None if aligner is None else aligner.split(directions)
        seen = own[0] if maps is None else maps.transform(own[0])
        units = {*own[0].components}
        found[name] = Split(*own, [one for one in ranked(seen, texts) if one in units])
    return found


@dataclass(frozen=True)
class Judged:
    """Accuracies on two halves of the test images, of which the first chooses k."""

    labels: np.ndarray
    groups: np.ndarray

    def halves(self, logits: Tensor) -> tuple[GroupAccuracy, GroupAccuracy]:
        """Judge both."""
        parts = (slice(0, None, 2), slice(1, None, 2))
        one, other = (GroupAccuracy.of(logits[part], self.labels[part], self.groups[part]) for part in parts)
        return one, other


def selectivity(split: Split, train: Part, test: Part, loss: float) -> dict[str, float]:
    """Measure what readers of the place and of the class lose."""
    place_train, place_test = (part.images.groups % 2 for part in (train, test))
    x, curves = train.c.total(), []
    for learn, labels in ((place_train, place_test), (train.images.labels, test.images.labels)):
        judge = Judged(labels, test.images.groups)
        head = LinearHead.fit(x, learn, 2, balanced=True)
        curves.append([(k, *(one.average for one in judge.halves(logits))) for k, logits in split.taken(head)])
    cue, core = (np.array(curve)[0, 1:] - np.array(curve)[:, 1:] for curve in curves)
    gain = np.where(core[:, 0] <= loss, cue[:, 0] - core[:, 0], -np.inf)
    best = int(gain.argmax())
    return {
        "k": int(curves[0][best][0]),
        "cue": float(cue[best, 1]),
        "class": float(core[best, 1]),
        "selectivity": float(cue[best, 1] - core[best, 1]),
    }


def drawn_head(few: Part, seed: int, settings: Settings) -> LinearHead:
    """Fit a head to 40 images of the tied setting."""
    source, labels = np.random.default_rng([seed, 0]), few.images.labels
    rows = [source.permutation(np.flatnonzero(labels == one))[: FEW // 2] for one in np.unique(labels)]
    mine = np.concatenate(rows)
    return LinearHead.fit(few.c.total()[torch.from_numpy(mine)], labels[mine], 2, strength=settings.strength)


def worst_group(split: Split, few: Part, test: Part, settings: Settings) -> dict[str, float]:
    """Measure the worst group, averaged over heads; k is the same for all of them."""
    judge, curves = Judged(test.images.labels, test.images.groups), []
    for seed in range(settings.seeds):
        halves = [(k, judge.halves(logits)) for k, logits in split.taken(drawn_head(few, seed, settings))]
        curves.append([(k, one.worst, other.worst, other.average) for k, (one, other) in halves])
    mean = np.array(curves).mean(0)
    best = int(mean[:, 1].argmax())
    return {
        "k": int(mean[best, 0]),
        "before": float(mean[0, 2]),
        "worst": float(mean[best, 2]),
        "average": float(mean[best, 3]),
    }


def reweighted(split: Split, few: Part, train: Part, test: Part, settings: Settings) -> dict[str, float]:
    """Measure the same heads behind learned scales, of components or of units."""
    judge, found = Judged(test.images.labels, test.images.groups), []
    for seed in range(min(settings.seeds, REWEIGHTED)):
        head = drawn_head(few, seed, settings)
        scales = SpectralReweighting().fit(split.train, train.images.labels, head)
        parts = np.array_split(np.arange(len(split.test)), max(1, len(split.test) // 256))
        logits = torch.cat([head(scales.transform(split.test.take(rows.tolist())).total()) for rows in parts])
        found.append([judge.halves(logits)[1].worst, judge.halves(logits)[1].average])
    worst, average = np.array(found).mean(0).tolist()
    return {"worst": worst, "average": average, "scales": len(scales.scales_)}


def of(model: str, train: Part, test: Part, texts: Mapping[str, Tensor], settings: Settings) -> Result:
    """Measure every way on one model."""
    few, figures = tied(train), dict[str, Any]()
    for name, split in splits(model, train, test, texts, settings.k).items():
        told = selectivity(split, train, test, settings.loss)
        figures[name] = {
            "selectivity": told,
            "worst group": worst_group(split, few, test, settings),
            "reweighted": reweighted(split, few, train, test, settings),
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
    k: Annotated[int, typer.Option("-k", min=1, help="Directions of each component.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, help="Heads, each of other images.")] = 10,
    loss: Annotated[float, typer.Option(help="Loss of the class that is allowed.")] = 0.02,
    strength: Annotated[float, typer.Option(help="C of the logistic regression of the heads.")] = 0.01,
    out: Annotated[Path | None, typer.Option(help="Folder for units.md and units.json.")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="One model and few heads: to see that it works.")] = False,
) -> None:
    """Compare removal by units with removal by components."""
    settings, console = Settings(k, 2 if quick else seeds, loss, strength), Console(width=150)
    place = cache_directory()
    with one_line_errors():
        if out is not None:
            check_directory(out)
        data = read(cached_scenes(place, WORLD, "train", "test", subset="waterbirds"))
        space, results = ClipSpace(CLIP, device="cpu"), {}
        texts = {name: space.encode_text(words).cpu() for name, words in WORDS.items()}
        for spec in ["scenes:deit"] if quick else (model or MODELS):
            results[spec] = of(spec, *loaded(spec, data, place), texts, settings)
            console.print(results[spec].sheets[0].rich(), *results[spec].notes)
            if out is not None:
                write(out, "units", HEADING, asdict(settings), results)
        console.print(GOALS)


if __name__ == "__main__":
    typer.run(main)
