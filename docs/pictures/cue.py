"""A cue taken out of a classifier that learned it, on five models: `docs/images/cue.png`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from style import FAINT, FEATURES, INK, LINE, bare, figure, save, show
from vitdecomp_alignment import ClosedForm
from world import CLIP, features, picture, scenes, seen, vectors

import vitdecomp as vd
from vitdecomp.ablation import GroupAccuracy, Labelled, Plan, debias
from vitdecomp.scenes import SceneDataset

MODELS = ("clip", "deit", "dino", "swin", "maxvit")
LEARNED, SEEN = 600, 600  # training and test scenes
HEAD, REMOVED, SEEDS = 40, 10, 10  # scenes a head learns from; components taken away; heads
TIED = (0, 3)  # groups in which class and place go together


@dataclass(frozen=True)
class Result:
    """Accuracies of the worst group in percent, means over heads."""

    before: float
    after: float
    random: float


def draw() -> Path:
    """Show what the head learned from, where it fails, and what the removal of the place gives back."""
    train, test = scenes(LEARNED, "train", "waterbirds"), scenes(SEEN, "test", "waterbirds")
    drawn = figure(3.0)
    examples(drawn, train, test)
    axes = drawn.add_axes((0.525, 0.14, 0.465, 0.76))
    drawn.text(0.525, 0.92, "accuracy of the worst group", fontsize=10, weight="bold")
    for place, name in enumerate(MODELS):
        row(axes, place, name, removed(f"scenes:{name}", train, test))
    frame(axes)
    return save(drawn, "cue")


def removed(model: str, train: SceneDataset, test: SceneDataset) -> Result:
    """Fit heads to scenes in which the place gives the class away, and take the place's components out."""
    learned, asked = (
        Labelled(each.c, data.labels["target"], data.labels["group"])
        for each, data in zip(seen(model, train, test), (train, test), strict=True)
    )
    aligned = learned.source if model == CLIP else fitted(learned, train)
    scorer = vd.FeatureScorer(center="feature", bootstrap=0, shuffles=0).fit(aligned, features())
    rows = np.flatnonzero(np.isin(learned.groups, TIED))
    few = Labelled(learned.source.take(rows.tolist()), learned.labels[rows], learned.groups[rows])
    plan = Plan(k=REMOVED, share=HEAD / len(rows), strength=0.01, refit=True, seeds=SEEDS)
    runs = debias(few, asked, scorer.contrast("location", "shape"), plan, pool=learned.source)
    controls = [worst(run.controls["random"]) for run in runs]
    return Result(worst([run.before for run in runs]), worst([run.after for run in runs]), float(np.mean(controls)))


def fitted(learned: Labelled, train: SceneDataset) -> vd.Contributions:
    """Take contributions into CLIP's space."""
    return ClosedForm().fit(learned.source, vectors(train)).transform(learned.source)


def worst(found: list[GroupAccuracy] | tuple[GroupAccuracy, ...]) -> float:
    """Return the mean accuracy of the worst group, in percent."""
    return 100 * float(np.mean([one.worst for one in found]))


def examples(drawn: Figure, train: SceneDataset, test: SceneDataset) -> None:
    """Show scenes of both kinds."""
    usual = [[i for i in range(LEARNED) if train.labels["group"][i] == group][:3] for group in TIED]
    other = [[i for i in range(SEEN) if test.labels["group"][i] == group][:1] for group in (1, 2)]
    drawn.text(0.012, 0.92, "the classifier learns from", fontsize=10, weight="bold")
    drawn.text(0.345, 0.92, "and fails on", fontsize=10, weight="bold")
    for line, name in enumerate(("pointed shapes", "round shapes")):
        y = 0.5 - 0.44 * line
        drawn.text(0.012, y + 0.335, name, fontsize=9, color=FAINT)
        for place, i in enumerate(usual[line]):
            show(drawn.add_axes((0.012 + 0.098 * place, y + 0.03, 0.092, 0.27)), picture(train, i))
        show(drawn.add_axes((0.345, y + 0.03, 0.092, 0.27)), picture(test, other[line][0]))


def row(axes: Axes, place: int, name: str, found: Result) -> None:
    """Draw an arrow from the accuracy before to the one after, and a mark for random components."""
    axes.plot([0, 100], [place, place], color=LINE, linewidth=0.8, zorder=0)
    arrow = {"arrowstyle": "-|>,head_width=.28,head_length=.5", "color": FEATURES["location"], "linewidth": 2.6}
    axes.annotate("", (found.after, place), (found.before, place), arrowprops={**arrow, "shrinkA": 0, "shrinkB": 0})
    axes.plot(found.before, place, "o", color=FEATURES["colour"], markersize=8)
    axes.plot(found.random, place, "|", color=INK, markersize=13, markeredgewidth=1.6)
    axes.text(
        min(found.before, found.random) - 2.6, place - 0.02, f"{found.before:.0f}%", ha="right", va="center", color=INK
    )
    axes.text(found.after + 1.6, place - 0.02, f"{found.after:.0f}%", ha="left", va="center", weight="bold", color=INK)
    axes.text(-2, place, name, ha="right", va="center", fontsize=9.5)


def frame(axes: Axes) -> None:
    """Write what the marks mean."""
    bare(axes)
    axes.set(xlim=(0, 104), ylim=(len(MODELS) - 0.5, -0.6))
    y = len(MODELS) - 0.28
    axes.plot(3, y, "o", color=FEATURES["colour"], markersize=7, clip_on=False)
    axes.plot(26, y, ">", color=FEATURES["location"], markersize=7, clip_on=False)
    axes.plot(83.5, y, "|", color=INK, markersize=11, markeredgewidth=1.6, clip_on=False)
    said = ((5.5, "before"), (28.5, f"without {REMOVED} parts of the place"), (85.5, f"{REMOVED} at random"))
    for x, words in said:
        axes.text(x, y, words, va="center", fontsize=8, color=FAINT)
