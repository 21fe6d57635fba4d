r"""How well scores by texts choose components, where the truth is known.

    python benchmarks/scenes_scores.py                                  every embedded model
    python benchmarks/scenes_scores.py --model scenes:deit --seed 5 --out docs/benchmarks

Maps to scenes:clip are fitted to all scenes, by its vectors of them and without labels. Scores and choices are made
from one half of the scenes, and judged by the labels of the other. `--out` writes the same as `scores.md` and as
`scores.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from scipy.stats import spearmanr
from sheets import Result, Sheet, number, write
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm
from vitdecomp_alignment.texts import scene_features

import vitdecomp as vd
from vitdecomp.demo.subject import decompose
from vitdecomp.demo.world import scenes_world
from vitdecomp.metrics import Knowledge, causal_matrix, component_decodability, feature_precision
from vitdecomp.models.adapter import adapters
from vitdecomp.models.prepare import ModelOptions

CLIP = "scenes:clip"
FEW = 100  # components from which on the paper takes nine for a feature, and not three
# How components are chosen -> settings of the scorer, whether their number is found, way of choosing.
CHOICES: Mapping[str, tuple[Mapping[str, Any], bool, str]] = {
    "margin, k": ({}, False, "margin"),
    "margin, k, centered": ({"center": "feature"}, False, "margin"),
    "margin, k, pooled": ({"center": "feature", "measure": "pooled"}, False, "margin"),
    "margin, auto": ({}, True, "margin"),
    "margin, auto, centered": ({"center": "feature"}, True, "margin"),
    "agreement, k": ({}, False, "agreement"),
    "agreement, auto": ({}, True, "agreement"),
}
HEADING = (
    "Components chosen by scores",
    "Scores of {n} scenes (seed {seed}): components are chosen from one half and judged by the labels of the other; "
    "models other than `scenes:clip` are aligned with it by the closed form. A column for each feature: precision@10 "
    "of retrieval by the sum of its components. *Spearman*: rank correlation of scores with what probes read from each "
    "component alone. *Own*, *others'*, *random*: what a linear reader of a feature loses when its components are "
    "replaced by their mean, what readers of the other features lose, and what as many random components cost.",
)


@dataclass(frozen=True)
class Settings:
    """Say what is measured: n scenes of a seed, half of them for choosing; `prior` is that of the closed form."""

    n: int
    seed: int
    prior: str


@dataclass(frozen=True)
class Judged:
    """Scenes with labels on which choices are judged, and what probes read there."""

    c: vd.Contributions
    truth: Mapping[str, np.ndarray]
    known: Knowledge

    @classmethod
    def of(cls, c: vd.Contributions, labels: Mapping[str, np.ndarray]) -> Judged:
        return cls(c, labels, component_decodability(c, labels))


def measure(c: vd.Contributions, words: Mapping[str, Tensor], labels: Mapping[str, np.ndarray]) -> Result:
    """Return every way of choosing."""
    half = len(c) // 2
    seen, rest = c.take(range(half)), c.take(range(half, len(c)))
    judged = Judged.of(rest, {name: labels[name][half : len(c)] for name in words})
    rows, figures = [], {}
    for name, (settings, auto, by) in CHOICES.items():
        figures[name] = chosen(seen, words, judged, (settings, auto, by))
        rows.append([name, "/".join(map(str, figures[name]["sizes"])), *map(number, _numbers(figures[name]))])
    everything = float(np.mean(list(figures[name]["everything"].values())))
    header = ("chosen by", "k", *words, "mean", "Spearman", "own", "others'", "random")
    note = f"All components together find {number(everything)} on the mean of the features"
    return Result(figures, [Sheet("Choices", header, rows)], [note])


def chosen(
    seen: vd.Contributions, words: Mapping[str, Tensor], judged: Judged, way: tuple[Mapping[str, Any], bool, str]
) -> dict[str, Any]:
    """Measure what is found and lost by one way of choosing."""
    settings, auto, by = way
    computed = [not component.is_constant for component in seen.components]
    k = 3 if sum(computed) < FEW else 9
    scorer = vd.FeatureScorer(bootstrap=0, shuffles=0, **settings).fit(seen, words)
    own = [spearmanr(scorer.scores_[i, computed], judged.known.of(f)[computed])[0] for i, f in enumerate(words)]
    picked = {f: scorer.top(f, "auto" if auto else k, by=by) for f in words}
    found = feature_precision(judged.c, judged.truth, picked)
    lost = causal_matrix(judged.c, judged.truth, picked)
    drop = lost.drop.diagonal()
    return {
        "components": {f: [component.name for component in some] for f, some in picked.items()},
        "sizes": [len(some) for some in picked.values()] if auto else [k],
        "precision": dict(zip(words, found.chosen.tolist(), strict=True)),
        "everything": dict(zip(words, found.everything.tolist(), strict=True)),
        "spearman": float(np.mean(own)),
        "own": float(drop.mean()),
        "others": float(((lost.drop.sum(1) - drop) / (len(words) - 1)).mean()),
        "random": float(lost.control.mean()),
    }


def summary(results: Mapping[str, Result]) -> Result:
    """Mean precision of every way, for every model."""
    rows: list[Sequence[str]] = []
    everything = [np.mean(list(r.figures["margin, k"]["everything"].values())) for r in results.values()]
    rows.append(["all components", *map(number, everything)])
    for name in CHOICES:
        means = [float(np.mean(list(r.figures[name]["precision"].values()))) for r in results.values()]
        rows.append([name, *map(number, means)])
    return Result({}, [Sheet("Mean precision of the ten nearest", ("chosen by", *results), rows)])


def _numbers(figures: Mapping[str, Any]) -> list[float]:
    found = list(figures["precision"].values())
    return [*found, float(np.mean(found)), *(figures[name] for name in ("spearman", "own", "others", "random"))]


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable. Default: all embedded models.")] = None,
    n: Annotated[int, typer.Option("-n", min=80, help="Scenes.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes.")] = 11,
    prior: Annotated[str, typer.Option(help="Of the closed form: shared or own.")] = "shared",
    out: Annotated[Path | None, typer.Option(help="Folder for scores.md and scores.json.")] = None,
) -> None:
    """Judge choices of components by texts on the embedded models."""
    console, settings = Console(), Settings(n, seed, prior)
    world, space = scenes_world(n, seed), ClipSpace(CLIP, device="cpu")
    words = {name: space.encode_text(texts).cpu() for name, texts in scene_features().items()}
    target = space.encode_image(list(world.pictures)).cpu()
    results: dict[str, Result] = {}
    for spec in model or [f"scenes:{name}" for name in adapters()["scenes"].names()]:
        c = decompose(ModelOptions(spec, device="cpu"), world, n).contributions
        if spec != CLIP:
            c = ClosedForm(prior=prior).fit(c, target).transform(c)
        results[spec] = measure(c, words, world.labels)
        console.rule(spec, align="left")
        console.print(results[spec].sheets[0].rich(), *results[spec].notes)
    told = {"All models": summary(results), **results}
    console.print(told["All models"].sheets[0].rich())
    if out is not None:
        write(out, "scores", (HEADING[0], HEADING[1].format(**vars(settings))), vars(settings), told)


if __name__ == "__main__":
    typer.run(main)
