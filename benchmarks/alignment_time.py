r"""How long it takes to come near to CLIP: the closed form on few scenes and on many, beside the published training.

    python benchmarks/alignment_time.py                                 every embedded model but scenes:clip
    python benchmarks/alignment_time.py --model scenes:deit --out docs/benchmarks

All learn from the first of the same scenes, in turn, and are measured on the last fifth. Contributions and CLIP's
vectors are there already. `--out` writes the same as `alignment_time.md` and as `alignment_time.json`.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from sheets import Result, Sheet, write
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm, CompAlign
from vitdecomp_alignment.aligners.linear import LinearAligner

from vitdecomp import Contributions
from vitdecomp.demo.subject import decompose
from vitdecomp.demo.world import World, scenes_world
from vitdecomp.models.prepare import ModelOptions

MODELS = ("scenes:deit", "scenes:dino", "scenes:swin", "scenes:maxvit")
CLIP = "scenes:clip"
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the scenes to learn from
EPOCHS = (1, 2, 10)
HELD_OUT = 5  # one part of so many
HEADING = (
    "How long an alignment takes",
    "Distance: 1 - cosine on scenes held out. Times: of the published training for one epoch, which the paper uses.",
)


@dataclass(frozen=True)
class Settings:
    """Scenes in all, their seed, and repetitions of every training."""

    n: int
    seed: int
    rounds: int


@dataclass(frozen=True)
class Found:
    """One way to train: how many scenes, the distance, and the seconds of every round."""

    name: str
    scenes: int
    distance: float
    seconds: list[float]


def ways(n: int, seed: int) -> list[tuple[str, LinearAligner, int]]:
    """List what is compared: a name, an aligner, and how many scenes it learns from."""
    published = [
        (
            f"as published, {epochs} epoch{'s' if epochs > 1 else ''}",
            CompAlign(init="random", coordinates="full", epochs=epochs, validation_fraction=0.0, random_state=seed),
            n,
        )
        for epochs in EPOCHS
    ]
    return [*published, *(("closed form", ClosedForm(random_state=seed), round(n * share)) for share in SHARES)]


def of(spec: str, world: World, seen: Tensor, settings: Settings) -> Result:
    """Return all ways on one model."""
    subject = decompose(ModelOptions(spec, device="cpu", seed=settings.seed), world, settings.n)
    c, target = subject.contributions, seen[: len(subject.world)]
    learned = len(c) - len(c) // HELD_OUT
    plan = ways(learned, settings.seed)
    seconds: list[list[float]] = [[] for _ in plan]
    for _ in range(settings.rounds):
        for place, (_, aligner, n) in enumerate(plan):
            began = time.perf_counter()
            aligner.fit(c.take(list(range(n))), target[:n])
            seconds[place].append(time.perf_counter() - began)
    rest = list(range(learned, len(c)))
    found = [
        Found(name, n, _distance(aligner, c.take(rest), target[learned:]), several)
        for (name, aligner, n), several in zip(plan, seconds, strict=True)
    ]
    return Result({"ways": [asdict(one) for one in found]}, [_sheet(spec, found)])


def _distance(aligner: LinearAligner, c: Contributions, target: Tensor) -> float:
    return 1 - float(torch.cosine_similarity(aligner.transform(c).total(), target.to(c.values), dim=1).mean())


def _sheet(spec: str, found: list[Found]) -> Sheet:
    one = np.median(found[0].seconds)
    rows = [
        [one_way.name, f"{one_way.scenes:,}", f"{one_way.distance:.4f}", f"{np.median(one_way.seconds):.2f}",
         f"{np.median(one_way.seconds) / one:.2f}"]
        for one_way in found
    ]  # fmt: skip
    return Sheet(f"{spec} to {CLIP}", ["trained", "scenes", "distance", "seconds", "times one epoch"], rows)


def main(
    model: Annotated[list[str] | None, typer.Option(help="A spec; repeatable.")] = None,
    n: Annotated[int, typer.Option("-n", min=200, help="Scenes.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions, all ways in turn.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Folder for alignment_time.md and alignment_time.json.")] = None,
) -> None:
    """Time alignments of the embedded models."""
    settings, console = Settings(n, seed, rounds), Console()
    world = scenes_world(n, seed)
    seen = ClipSpace(CLIP, device="cpu").encode_image(list(world.pictures)).cpu()
    results = {}
    for spec in model or MODELS:
        results[spec] = of(spec, world, seen, settings)
        console.print(results[spec].sheets[0].rich(), "")
        if out is not None:
            write(out, "alignment_time", HEADING, asdict(settings), results)


if __name__ == "__main__":
    typer.run(main)
