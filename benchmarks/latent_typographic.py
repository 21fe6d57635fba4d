r"""Does removing the patches that texts name repair a CLIP that written words mislead?

    python benchmarks/latent_typographic.py --out docs/benchmarks
    python benchmarks/latent_typographic.py --quick
    python benchmarks/latent_typographic.py --pairs photos/ --model open_clip:ViT-B-16/laion2b_s34b_b88k --out out

Scenes with a wrong shape written over them, each beside its twin without the word. `scenes:clip` passes over words; the
model here is `benchmarks/reading_clip.py`, which reads them and is trained at the first run. With `--pairs` the same on
photographs: `plain/CLASS/NAME.jpg` beside `attacked/CLASS/NAME.jpg`, or as RTA-100, PAINT and Materzynska et al. name
theirs (`vitdecomp.datasets.PairsDataset`). `--out` writes `latent_typographic.md` and `latent_typographic.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from one_line_errors import one_line_errors
from removal import FRACTIONS, largest, removed
from rich.console import Console
from scenes_heatmaps import CLIP
from sheets import Result, Sheet, write
from torch import Tensor
from typographic_worlds import (
    TUNED,
    UNKNOWN,
    Both,
    Subject,
    World,
    pairs_subject,
    pairs_views,
    scene_subject,
    scene_views,
)
from vitdecomp_alignment import ClipSpace

from vitdecomp import SpecError
from vitdecomp.datasets import PairsDataset

RATIOS = (0.25, 0.5, 1.0, 2.0)  # a text names writing if so many times as many patches under words as others say it
TOGETHER = ((0, 1), (0, 2), (1, 2), (0, 1, 2))  # layers that are read together: a patch that either names counts
SHOWN = 8  # texts of a list that the table names
PROMPT = "a photo of a {}"
ROWS = (
    "*Words*: patches whose best text, read in one layer or in one of several, is on a list; a list has the texts that "
    "are said under words more often than elsewhere. *Saliency*: patches with the largest values of a heatmap of the "
    "predicted class. *Random*: of every image, plain ones too, as many patches as *words* takes of an attacked one on "
    "average."
)
SCENES = (
    "A wrong shape is written over each of {n} scenes of each of the seeds {seeds}; their twins have no word. Patches "
    "are set to zero in front of block 0 of a CLIP that reads (`benchmarks/reading_clip.py`). All settings were chosen "
    "on {n} scenes of seed {tuned}, by the mean of the accuracies on attacked and on plain scenes. "
    f"{ROWS} *True mask*: the patches under the word, none of plain images."
)
PAIRS = (
    "Photographs with a wrong word on them, and plain twins; {classes} classes (*{prompt}*). Patches are set to zero "
    "in front of block 0. All settings were chosen on {tuned} pairs, by the mean of the accuracies on attacked and on "
    "plain photographs, and are reported on {n} others; seed {seed} drew the halves. "
    f"{ROWS} Where words lie is not known: a text is taken to be said under words as many times more as attacked "
    "photographs have it than plain ones."
)
Chooser = Callable[[World], Both]


@dataclass(frozen=True)
class Row:
    """Hold what a choice of patches does: accuracies, answers that are the written word, and the share removed."""

    setting: str
    attacked: float
    plain: float
    misled: float | None
    removed: float

    @classmethod
    def of(cls, subject: Subject, world: World, setting: str, patches: Both) -> Row:
        """Remove patches of attacked and of plain images."""
        views = world.views
        both = zip((views.attacked, views.plain), patches, strict=True)
        attacked, plain = (subject.answers(removed(subject.dec, x, mask)) for x, mask in both)
        told = views.written != UNKNOWN
        misled = _share((attacked == views.written)[told]) if bool(told.any()) else None
        shares = _share(attacked == views.labels), _share(plain == views.labels)
        return cls(setting, *shares, misled, _share(patches[0]))

    def cells(self) -> list[str]:
        """Write the figures."""
        shares = (self.attacked, self.plain, self.misled, self.removed)
        return [*("" if share is None else f"{share:.1%}" for share in shares), self.setting]


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def choices(subject: Subject, tuned: World) -> Iterator[tuple[str, str, Chooser]]:
    """Give every way to choose patches with every setting."""
    depth = tuned.said[0].shape[1]
    singles = [(layer,) for layer in range(depth)]
    for layers in (*singles, *(some for some in TOGETHER if max(some) < depth)):
        for ratio in RATIOS:
            lists = {layer: subject.named(tuned, layer, ratio) for layer in layers}

            def words(world: World, lists: Mapping[int, list[int]] = lists) -> Both:
                first, second = (subject.said_by(said, lists) for said in world.said)
                return first, second

            yield "words", "; ".join(f"layer {k}: {_listed(subject, some)}" for k, some in lists.items()), words
    for method in subject.methods:
        for fraction in FRACTIONS:

            def salient(world: World, method: str = method, fraction: float = fraction) -> Both:
                first, second = (largest(each, fraction) for each in world.maps[method])
                return first, second

            yield method, f"{fraction:.0%} of the patches", salient


def _listed(subject: Subject, some: Sequence[int]) -> str:
    names = [*subject.texts]
    more = f" and {len(some) - SHOWN} more" if len(some) > SHOWN else ""
    return ", ".join(names[i] for i in some[:SHOWN]) + more


def measure(subject: Subject, tuned: World, world: World, title: str) -> Result:
    """Choose settings on some pairs, and report on others."""
    nothing = torch.zeros_like(world.said[0][:, 0], dtype=torch.bool)
    rows = {"none": Row.of(subject, world, "", (nothing, nothing))}
    best: dict[str, tuple[float, str, Chooser]] = {}
    for name, setting, chooser in choices(subject, tuned):
        row = Row.of(subject, tuned, setting, chooser(tuned))
        mean = (row.attacked + row.plain) / 2
        if name not in best or mean > best[name][0]:
            best[name] = mean, setting, chooser
    rows |= {name: Row.of(subject, world, setting, chooser(world)) for name, (_, setting, chooser) in best.items()}
    noise = torch.rand(nothing.shape, generator=torch.Generator().manual_seed(0))
    some = largest(noise, rows["words"].removed)
    rows["random"] = Row.of(subject, world, "as many as by words", (some, some))
    if world.under is not None:
        rows["true mask"] = Row.of(subject, world, "", (world.under, nothing))
    header = ("removed", "attacked", "plain", "says the word", "patches removed", "chosen setting")
    figures = {name: vars(row) for name, row in rows.items()}
    return Result(figures, [Sheet(title, header, [[name, *row.cells()] for name, row in rows.items()])])


def on_scenes(console: Console, n: int, seeds: Sequence[int]) -> tuple[str, str, dict[str, object], Result]:
    """Measure on drawn scenes.

    Returns:
        The name of the model, what was measured in a sentence, settings and figures.
    """
    with console.status("training") as status:

        def told(step: int, steps: int, loss: float) -> None:
            status.update(f"training step {step} of {steps}, loss {loss:.2f}")

        subject = scene_subject(ClipSpace(CLIP, device="cpu"), told)
    tuned, world = (subject.world(scene_views(subject.loaded, n, some)) for some in ([TUNED], seeds))
    result = measure(subject, tuned, world, f"{len(world.views.labels)} scenes and their twins")
    about = {"n": n, "seeds": seeds, "tuned": TUNED}
    sentence = SCENES.format(**{**about, "seeds": " and ".join(map(str, seeds))})
    return "scenes:clip, reading", sentence, about, result


def on_pairs(
    place: Path, spec: str, texts: str | None, prompt: str, n: int | None, seed: int
) -> tuple[str, str, dict[str, object], Result]:
    """Measure on photographs; return the same as `on_scenes`."""
    pairs = PairsDataset(place)
    subject = pairs_subject(spec, pairs, texts, prompt)
    tuned, world = (subject.world(views) for views in pairs_views(subject.loaded, pairs, n, seed))
    result = measure(subject, tuned, world, f"{len(world.views.labels)} photographs and their twins")
    result.notes.extend(subject.notes)
    numbers = {"tuned": len(tuned.views.labels), "n": len(world.views.labels), "seed": seed}
    about = {**numbers, "texts": len(subject.texts), "prompt": prompt, "classes": len(pairs.classes)}
    return spec, PAIRS.format(**about), about, result


def main(
    n: Annotated[int | None, typer.Option("-n", min=4, help="Scenes of each seed (120), or pairs at most.")] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Of the scenes (64 and 65), or halves (0).")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Folder of photographs: plain/ beside attacked/.")] = None,
    model: Annotated[str | None, typer.Option(help="For --pairs: a model with texts.")] = None,
    texts: Annotated[str | None, typer.Option(help="For --pairs: a pool, or a file with one text a line.")] = None,
    prompt: Annotated[str, typer.Option(help="For --pairs: what a class is put into.")] = PROMPT,
    quick: Annotated[bool, typer.Option("--quick", help="A few scenes, to see whether it runs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for latent_typographic.md and .json.")] = None,
) -> None:
    """Repair typographic attacks by removing patches that texts name."""
    console = Console(width=150)
    with one_line_errors():
        if (pairs is None) != (model is None) or (texts and pairs is None):
            raise SpecError("--pairs, --model and --texts go together: give --pairs DIR --model SPEC")
        if pairs is None or model is None:
            told = on_scenes(console, 12 if quick else n or 120, tuple(seed or (64, 65)))
        else:
            told = on_pairs(pairs, model, texts, prompt, 12 if quick else n, (seed or [0])[0])
        name, sentence, about, result = told
        console.print(result.sheets[0].rich(), *result.notes, "", sep="\n")
        if out is not None:
            title = "Typographic attacks on photographs" if pairs else "Typographic attacks on scenes"
            write(out, "latent_typographic", (title, sentence), about, {name: result})


if __name__ == "__main__":
    typer.run(main)
