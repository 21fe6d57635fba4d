"""A spurious cue, named by words, taken out of a classifier that learned it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vitdecomp.ablation import Labelled, Plan, debias
from vitdecomp.contributions import Contributions
from vitdecomp.demo.context import Context
from vitdecomp.demo.figure import Number, Sentence
from vitdecomp.demo.section import Row, Section, Table
from vitdecomp.demo.story import Step
from vitdecomp.demo.subject import BATCH, Subject
from vitdecomp.scenes import SceneDataset
from vitdecomp_alignment.cli.debias.debiasing import summarised
from vitdecomp_alignment.demo.speech import Spoken, few, no_texts, speech

CUE, CORE = "location", "shape"  # features of scenes
LEARNED, SEEN = 160, 480  # scenes of the training and of the test split
HEAD = 40  # of those that a head learns from
TIED = (0, 3)  # groups in which class and place go together
REMOVED = 10  # components


@dataclass(frozen=True, slots=True)
class Removed:
    """Accuracies of one model in percent: means over heads.

    Attributes:
        before, after: of the worst group, and of all groups on the average.
        random, core: of the worst group, without other components.
    """

    before: tuple[float, float]
    after: tuple[float, float]
    random: float
    core: float


def cue(context: Context) -> Section:
    """Teach heads a class that always comes with a place, and take the place away."""
    data = {split: SceneDataset(n, context.options.seed, split, "waterbirds") for split, n in _sizes().items()}
    found = {s.subject.name: _removed(s, data, context.options.seed) for s in speech(context).told}
    name = context.featured.name
    first = found[name]
    gain = first.after[0] - first.before[0]
    return Section(
        title="A cue taken out",
        finding=Sentence(
            "A classifier of shapes learned from {n} scenes in which the place gives the class away. Where the place "
            "misleads it is right {before} of the time on {model}; without the {k} components that words find to carry "
            "the place, {after}. As many components at random change that by {random}.",
            {
                "n": Number(HEAD, "count"),
                "model": name,
                "k": Number(REMOVED, "count"),
                "before": Number(first.before[0], "percent"),
                "after": Number(first.after[0], "percent"),
                "random": Number(first.random - first.before[0], "points"),
            },
        ),
        blocks=(_table(found),),
        how=Sentence(
            "Classes are pointed and round shapes; in the {seen} test scenes class and place are independent. "
            "Components are ranked by the score of words for places minus that of words for shapes and replaced by "
            "their mean, on scenes of the demo, without labels or groups; the head is fitted again. Means over "
            "{seeds} heads, each from other scenes.",
            {"seen": Number(SEEN, "count"), "seeds": Number(Plan().seeds, "count")},
        ),
        repeat=context.options.command,
        key={"worst group without the cue": Number(gain, "points")},
    )


def told(context: Context) -> str:
    """Words for places and shapes of scenes are understood."""
    known = {*speech(context).features} & {*context.world.labels}
    return "" if {CUE, CORE} <= known else "there are no words for the places and shapes of scenes"


def _sizes() -> dict[str, int]:
    return {"train": LEARNED, "test": SEEN}


def _removed(spoken: Spoken, data: dict[str, SceneDataset], seed: int) -> Removed:
    train, test = (_labelled(spoken.subject, part) for part in data.values())
    rows = np.flatnonzero(np.isin(train.groups, TIED))
    few_of_them = Labelled(train.source.take(rows.tolist()), train.labels[rows], train.groups[rows])
    own = {*spoken.learned.components}
    ranking = [c for c in spoken.scorer.contrast(CUE, CORE) if c in own]
    varying = sum(not c.is_constant for c in ranking)
    runs = debias(
        few_of_them,
        test,
        ranking,
        Plan(k=min(REMOVED, varying), share=min(1.0, HEAD / len(rows)), strength=0.01, refit=True),
        pool=spoken.learned,
        others={"core": ranking[::-1]},
    )
    found = {row["representation"]: (row["worst"][0], row["average"][0]) for row in summarised(runs)}
    return Removed(found["before"], found["after"], found["random"][0], found["core"][0])


def _labelled(subject: Subject, data: SceneDataset) -> Labelled:
    """Return a model's contributions to scenes, with classes and groups."""
    pictures = [Image.fromarray(picture) for picture in data.arrays(range(len(data)))]
    parts = [_decompose(subject, pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]
    return Labelled(Contributions.joined(parts), data.labels["target"], data.labels["group"])


def _decompose(subject: Subject, pictures: Sequence[Image.Image]) -> Contributions:
    return subject.dec.transform(subject.prepared.batch(pictures))


def _table(found: dict[str, Removed]) -> Table:
    rows = [
        Row(
            name,
            (
                *(Number(x, "percent") for x in (one.before[0], one.after[0])),
                Number(one.after[0] - one.before[0], "points"),
                *(Number(x - one.before[0], "points") for x in (one.random, one.core)),
                *(Number(x, "percent") for x in (one.before[1], one.after[1])),
            ),
        )
        for name, one in found.items()
    ]
    groups = ("worst group before", "after", "gain", "gain, random components", "gain, components of shapes")
    columns = (*groups, "average before", "average after")
    return Table("Accuracy before and after the cue is taken out", "model", columns, tuple(rows))


CUE_STEP = Step("cue", "a cue taken out", cue, (no_texts, few, told), after="curves")
