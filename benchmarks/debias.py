r"""Cue removal on scenes-waterbirds: what every embedded model's worst group gains, with controls and seeds.

    python benchmarks/debias.py                              all five models, 10 seeds
    python benchmarks/debias.py --model scenes:swin --seeds 5 --json debias.json

Two settings. `tied`: in every training image the class and the place go together, and the head learns from 40 of them
(20 of each class, strongly regularised), so that nothing tells it what the class is. `standard`: 95% of the training
images are like that, and the head learns from 1,600 of them with scikit-learn's usual strength. Accuracies are of 2,000
test images in which class and place are independent. A head is fitted for each seed to another draw of images, and is
never fitted again; maps into CLIP's space, scores and means are of all training images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm
from vitdecomp_alignment.debiasing import CORE, SPURIOUS, seen, summarised, world

from vitdecomp import Contributions, FeatureScorer, VitdecompError
from vitdecomp.ablation import Labelled, Plan, debias
from vitdecomp.extract import Extraction, cached
from vitdecomp.files import cache_directory
from vitdecomp.grouped import Grouped, read
from vitdecomp.prepare import Request, prepare

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
TIED = Plan(strength=0.01, balanced=True)
STANDARD = Plan(strength=1.0, share=0.8)
METHODS: Mapping[str, Mapping[str, Any]] = {
    "10 components": {"k": 10},
    "20 components": {"k": 20},
    "20 components, zero": {"k": 20, "value": "zero"},
    "20 components, refitted": {"k": 20, "refit": True},
    "cue in 10 components": {"k": 10, "subspace": True},
    "cue in 20 components": {"k": 20, "subspace": True},
    "auto": {"k": "auto"},
    "cue in auto": {"k": "auto", "subspace": True},
}


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


def loaded(model: str, data: Grouped, cache: Path) -> dict[str, Part]:
    """Both splits as a model takes them apart, and as CLIP sees them."""
    subject, seer, found = prepare(Request(model, device="cpu")), prepare(Request(CLIP, device="cpu")), {}
    for split in ("train", "test"):
        part = data.part(split)
        stores = [
            cached(ready, Extraction(part.root, by, names=part.names), cache)
            for ready, by in ((subject, "head"), (seer, "representation"))
        ]
        c, whole = (store.take(range(len(store))) for store in stores)
        found[split] = Part(c, whole.total(), part)
    return found


def tied(train: Part) -> Part:
    """The images in which class and place go together."""
    return train.at(np.flatnonzero(np.isin(train.images.groups, (0, 3))))


def measure(train: Part, test: Part, space: ClipSpace, plan: Plan, *, own: bool) -> dict[str, Any]:
    """Every method in one setting."""
    texts = {name: space.encode_text(words).cpu() for name, words in WORDS.items()}
    aligner = None if own else ClosedForm().fit(train.c, train.vectors)
    aligned = train.c if aligner is None else aligner.transform(train.c)
    scorer = FeatureScorer(bootstrap=0, shuffles=0).fit(aligned, texts)
    ranking = [c for c in scorer.contrast(SPURIOUS, CORE) if c in train.c.components]
    cue = texts[SPURIOUS] - texts[SPURIOUS].mean(0)
    found: dict[str, Any] = {"components": [c.name for c in ranking[:20]], "methods": {}}
    for name, method in METHODS.items():
        settings = {key: value for key, value in method.items() if key != "subspace"}
        if method.get("subspace"):
            settings |= {"directions": cue, "aligner": aligner}
        try:
            runs = debias(
                train.labelled,
                test.labelled,
                ranking,
                replace(plan, **settings),
                cue=seen(aligned, texts[SPURIOUS]),
                others={"core words": ranking[::-1]},
            )
        except VitdecompError as error:
            found["methods"][name] = {"refused": str(error)}
            continue
        rows = {row["representation"]: {k: row[k] for k in ("worst", "average")} for row in summarised(runs)}
        found["methods"][name] = {"k": [len(run.components) for run in runs], **rows}
    return found


def show(console: Console, model: str, setting: str, found: Mapping[str, Any]) -> None:
    table = Table(title=f"{model}, {setting}", title_justify="left")
    for heading in ("taken away", "k", "worst group", "gain", "average", "gain", "random: worst", "core: worst"):
        table.add_column(heading, justify="left" if heading == "taken away" else "right")
    for name, row in found["methods"].items():
        if "refused" in row:
            table.add_row(name, "", row["refused"][:40] + "...")
            continue
        cells = []
        for key in ("worst", "average"):
            (before, spread), (after, left) = row["before"][key], row["after"][key]
            cells += [f"{before:.1%} ±{spread:.1%} -> {after:.1%} ±{left:.1%}", f"{after - before:+.1%}"]
        controls = [f"{row[c]['worst'][0] - row['before']['worst'][0]:+.1%}" for c in ("random", "core words")]
        table.add_row(name, f"{np.mean(row['k']):.0f}", *cells, *controls)
    console.print(table)


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable.")] = None,
    seeds: int = 10,
    out: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    cache: Path | None = None,
) -> None:
    torch.set_num_threads(1)
    kept = cache or cache_directory()
    data, space, console, figures = read(world(kept)), ClipSpace(CLIP, device="cpu"), Console(width=150), {}
    for name in model or MODELS:
        parts = loaded(name, data, kept)
        few = tied(parts["train"])
        settings = {
            "tied": (few, replace(TIED, share=FEW / len(few.images), seeds=seeds)),
            "standard": (parts["train"], replace(STANDARD, seeds=min(seeds, 3))),
        }
        for setting, (train, plan) in settings.items():
            found = measure(train, parts["test"], space, plan, own=name == CLIP)
            show(console, name, setting, found)
            figures.setdefault(name, {})[setting] = found
            if out is not None:
                out.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
