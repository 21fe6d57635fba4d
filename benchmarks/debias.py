r"""Cue removal on scenes-waterbirds: what every embedded model's worst group gains, with controls and seeds.

    python benchmarks/debias.py                              all five models, 20 seeds
    python benchmarks/debias.py --model scenes:swin --seeds 5 --json debias.json

In 95% of the 2,000 training images class and place go together; in the 2,000 test images, which all accuracies are of,
they are independent. Two settings. `tied`: a head learns from 40 training images (20 of each class) in all of which
class and place go together, so that nothing tells it which of the two is meant, and is strongly regularised (C = 0.001:
nearly the difference of the classes' means). `standard`: it learns from 1,600 training images with scikit-learn's usual
strength. A head is fitted for each seed to another draw of images, and but for one method never again. Maps into CLIP's
space, scores and means are of all training images; they need no labels.
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
TIED = Plan(strength=0.001)
STANDARD = Plan(strength=1.0, share=0.8)
METHODS: Mapping[str, Mapping[str, Any]] = {
    "10 components": {"k": 10},
    "30 components": {"k": 30},
    "10 components, zero": {"k": 10, "value": "zero"},
    "10 components, refitted": {"k": 10, "refit": True},
    "cue in 10 components": {"k": 10, "subspace": True},
    "cue in 30 components": {"k": 30, "subspace": True},
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
            cached(ready, Extraction(part, by), cache) for ready, by in ((subject, "head"), (seer, "representation"))
        ]
        c, whole = (store.take(range(len(store))) for store in stores)
        found[split] = Part(c, whole.total(), part)
    return found


def tied(train: Part) -> Part:
    """The images in which class and place go together."""
    return train.at(np.flatnonzero(np.isin(train.images.groups, (0, 3))))


def measure(few: Part, train: Part, test: Part, *, space: ClipSpace, plan: Plan, own: bool) -> dict[str, Any]:
    """Every method in one setting; heads learn from `few`, all else from `train`."""
    texts = {name: space.encode_text(words).cpu() for name, words in WORDS.items()}
    aligner = None if own else ClosedForm().fit(train.c, train.vectors)
    aligned = train.c if aligner is None else aligner.transform(train.c)
    scorer = FeatureScorer(bootstrap=0, shuffles=0).fit(aligned, texts)
    ranking = [c for c in scorer.contrast(SPURIOUS, CORE) if c in train.c.components]
    cue = texts[SPURIOUS] - texts[SPURIOUS].mean(0)
    cue_of_few = seen(few.c if aligner is None else aligner.transform(few.c), texts[SPURIOUS])
    found: dict[str, Any] = {"components": [c.name for c in ranking[:20]], "methods": {}}
    for name, method in METHODS.items():
        settings = {key: value for key, value in method.items() if key != "subspace"}
        if method.get("subspace"):
            settings |= {"directions": cue, "aligner": aligner}
        try:
            runs = debias(
                few.labelled,
                test.labelled,
                ranking,
                replace(plan, **settings),
                pool=train.c,
                cue=cue_of_few,
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
    for heading in ("taken away", "k", "worst group", "gain", "average", "gain", "random", "core", "elsewhere"):
        table.add_column(heading, justify="left" if heading == "taken away" else "right")
    for name, row in found["methods"].items():
        if "refused" in row:
            table.add_row(name, "", row["refused"][:40] + "...")
            continue
        cells = []
        for key in ("worst", "average"):
            (before, spread), (after, left) = row["before"][key], row["after"][key]
            cells += [f"{before:.1%} ±{spread:.1%} -> {after:.1%} ±{left:.1%}", f"{after - before:+.1%}"]
        first = row["before"]["worst"][0]
        names = ("random", "core words", "random directions")
        controls = [f"{row[name]['worst'][0] - first:+.1%}" if name in row else "" for name in names]
        table.add_row(name, f"{np.mean(row['k']):.0f}", *cells, *controls)
    console.print(table)


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable.")] = None,
    seeds: int = 20,
    out: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    cache: Path | None = None,
) -> None:
    torch.set_num_threads(1)
    kept = cache or cache_directory()
    data, space, console, figures = read(world(kept)), ClipSpace(CLIP, device="cpu"), Console(width=150), {}
    for name in model or MODELS:
        parts = loaded(name, data, kept)
        train, few = parts["train"], tied(parts["train"])
        settings = {
            "tied": (few, replace(TIED, share=FEW / len(few.images), seeds=seeds)),
            "standard": (train, replace(STANDARD, seeds=min(seeds, 3))),
        }
        for setting, (learned, plan) in settings.items():
            found = measure(learned, train, parts["test"], space=space, plan=plan, own=name == CLIP)
            show(console, name, setting, found)
            figures.setdefault(name, {})[setting] = found
            if out is not None:
                out.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
