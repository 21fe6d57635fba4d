r"""Do heatmaps lie where the thing is that a text names, on scenes whose masks are known?

    python benchmarks/scenes_heatmaps.py --out docs/benchmarks          every embedded model, all methods
    python benchmarks/scenes_heatmaps.py --model scenes:deit --seed 5
    python benchmarks/scenes_heatmaps.py --quick

A model without texts is aligned with `scenes:clip` on other scenes. The score is the text that names shape, color and
pattern of an object, minus the mean of all such texts. `--out` writes `heatmaps.md`, `heatmaps.json` and
`heatmaps.png`. Settings of methods were chosen on seeds 4711 and 4712; report on others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from one_line_errors import one_line_errors
from PIL import Image
from rich.console import Console
from scenes_heatmaps_figure import Panel, draw
from sheets import Result, Sheet, number, write
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm

import vitdecomp as vd
from vitdecomp import Decomposer, LoadedModel
from vitdecomp._utils.files import atomic
from vitdecomp.component import WHOLE
from vitdecomp.heatmaps.grid import PatchGrid, summed, upsampled
from vitdecomp.metrics import Estimate, Protocol, Segmentation
from vitdecomp.models.adapter import adapters, load_model
from vitdecomp.models.preprocessing import preprocessing
from vitdecomp.scenes import FACTORS, SceneDataset
from vitdecomp.scenes.render import draw_both

CLIP, TRAINING_SEED = "scenes:clip", 999
OURS, TRUE = "softened", "softened, mix = 0"
PATHS = ("frozen", TRUE)  # the same idea as ours, through true patterns: told apart from the other methods
CEILING = "mask on the patches"
PRECISION = Protocol("precision", classes="foreground", definition="AP of the foreground, signs kept")
DRAWS, CONFIDENCE = 1000, 0.95
COLUMNS = {"ap": "AP", "miou": "mIoU", "pointing": "pointing", "named": "named of two", "smaller": "AP, smaller"}
HEADING = (
    "Heatmaps on scenes",
    "Does a map lie where the object is that a text names? {n} scenes of each of the seeds {seeds}, on which nothing "
    "was chosen (settings were, on seeds 4711 and 4712), and those with two objects among four times as many. "
    "Directions: *a striped red circle* minus the mean of all 320 such texts; models without texts are aligned with "
    "`scenes:clip` by the closed form of the whole representation, on {aligned} training scenes of another seed. *AP*: "
    "average precision of the pixels of an image, mean over images. *mIoU*: protocol `imagenet-segmentation` (above "
    "the map's own mean; background and foreground; pooled). *Pointing*: the maximum lies on the object. *Named of "
    "two*: of two objects in an image, each is asked for; how often the map's mean is larger over that one (.5 for a "
    "map that does not read the text). *AP, smaller*: of the second object, which has at most .6 of the first one's "
    "radius. Maps are upsampled bilinearly. In brackets: 95% of the bootstrap over images. *{ceiling}*: the true mask "
    "as a map on the model's finest grid of patches. *{true}*: the same path with true patterns, which adds up.",
)


@dataclass(frozen=True)
class Settings:
    """Fix how many scenes of each seed are measured, and with how many others models are aligned."""

    n: int
    seeds: tuple[int, ...]
    aligned: int


@dataclass(frozen=True)
class World:
    """Scenes with an object and what names it; `second` where there is another one, with its mask and words."""

    pictures: list[Image.Image]
    masks: np.ndarray
    words: list[str]
    others: np.ndarray
    other_words: list[str]

    @classmethod
    def draw(cls, settings: Settings, two: bool) -> World:
        """Draw the first scenes of each seed, or those of four times as many that have two visible objects."""
        found = []
        for seed in settings.seeds:
            data = SceneDataset(4 * settings.n if two else settings.n, seed, "test")
            scenes = [data.scene(i) for i in range(len(data))]
            drawn = [(s, *draw_both(s)) for s in scenes if s.second or not two]
            found += [each for each in drawn if each[3].any() or not two]
        scenes, images, masks, others = zip(*found, strict=True)
        second = [phrase(s.second.shape, s.second.colour, s.second.pattern) if s.second else "" for s in scenes]
        first = [phrase(s.shape, s.colour, s.pattern) for s in scenes]
        return cls([*map(Image.fromarray, images)], np.stack(masks), first, np.stack(others), second)


@dataclass(frozen=True)
class Subject:
    """A model, and the direction of each phrase in its representation."""

    decomposer: Decomposer
    preprocess: Callable[[Image.Image], Tensor]
    directions: Mapping[str, Tensor]

    def maps(
        self, pictures: Sequence[Image.Image], words: Sequence[Sequence[str]], some: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """Return the maps of every method, or of some, at the size of the images, `(n, direction, h, w)`."""
        images = torch.stack([self.preprocess(p) for p in pictures])
        q = torch.stack([torch.stack([self.directions[w] for w in each]) for each in words]).to(images)
        found = {}
        known = methods()
        for label in some or known:
            method, settings = known[label]
            try:
                found[label] = vd.explain(self.decomposer, images, q, method, **settings).values
            except vd.SpecError:
                continue  # a product of patterns of several grids
        return found


def methods() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return all methods with their default settings, and ours with true patterns."""
    return {**{m: (m, {}) for m in vd.explainers()}, TRUE: (OURS, {"mix": 0.0})}


def phrase(shape: str, colour: str, pattern: str) -> str:
    return f"a {pattern} {colour} {shape}"


def subject(loaded: LoadedModel, clip: ClipSpace, settings: Settings) -> Subject:
    """Trace the model, and align it if it has no texts of its own."""
    texts = [phrase(s, c, p) for s in FACTORS["shape"] for c in FACTORS["colour"] for p in FACTORS["pattern"]]
    vectors = torch.nn.functional.normalize(clip.encode_text(texts).double(), dim=1)
    vectors = vectors - vectors.mean(0)
    preprocess = preprocessing(loaded)
    data = SceneDataset(settings.aligned, TRAINING_SEED, "train")
    pictures = [Image.fromarray(data.sample(i).image) for i in range(len(data))]
    images = torch.stack([preprocess(p) for p in pictures])
    dec = Decomposer(loaded).fit(images[:2])
    if loaded.spec != clip.spec:
        c = dec.transform(images, by="representation")
        aligner = ClosedForm().fit(c, clip.encode_image(pictures, normalize=False))
        vectors = vectors @ aligner.restricted(WHOLE).double().T
    return Subject(dec, preprocess, dict(zip(texts, vectors, strict=True)))


def measure(seen: Subject, one: World, two: World) -> Result:
    """All measures of every method, with intervals."""
    maps = {label: x[:, 0] for label, x in seen.maps(one.pictures, [[w] for w in one.words]).items()}
    both = seen.maps(two.pictures, list(zip(two.words, two.other_words, strict=True)))
    size = PatchGrid(seen.decomposer.tokens_).size
    found, rows = {}, {}
    ceilings = {"one": upsampled(on_patches(one.masks, size)[:, None], one.masks.shape[1:])[:, 0]}
    ceilings["two"] = upsampled(on_patches(two.others, size)[:, None], two.others.shape[1:])[:, 0]
    for label in [*maps, CEILING]:
        x = ceilings["one"] if label == CEILING else maps[label]
        found[label], rows[label] = located(x, one.masks)
        if label != CEILING:
            found[label]["named"] = estimate(named(both[label], two))
        other = ceilings["two"] if label == CEILING else both[label][:, 1]
        found[label]["smaller"] = located(other, two.others)[0]["ap"]
    chance = float(one.masks.mean())
    best = max((label for label in maps if label not in (OURS, *PATHS)), key=lambda label: rows[label].mean())
    ahead = {name: estimate(rows[OURS] - rows[name]) for name in (best, *PATHS)}
    figures = {
        "methods": {label: {m: list(vars_of(e)) for m, e in told.items()} for label, told in found.items()},
        "chance": chance,
        "grid": size,
        "ahead": {name: list(vars_of(e)) for name, e in ahead.items()},
    }
    order = sorted(found, key=lambda label: -found[label]["ap"].value)
    table = [[label, *(cell(found[label].get(m)) for m in COLUMNS)] for label in order]
    title = f"{len(one.masks)} scenes, {len(two.masks)} with two objects; {size[0]} x {size[1]} patches"
    notes = [f"Chance: AP and pointing {number(chance)}"]
    told = (f"{e.value:+.3f} [{e.low:+.3f}, {e.high:+.3f}] over `{name}`" for name, e in ahead.items())
    notes.append(f"AP of `{OURS}`, image by image: " + ", ".join(told))
    return Result(figures, [Sheet(title, ("method", *COLUMNS.values()), table)], notes)


def on_patches(masks: np.ndarray, size: tuple[int, int]) -> Tensor:
    return summed(torch.from_numpy(masks).double(), size)


def located(maps: Tensor, masks: np.ndarray) -> tuple[dict[str, Estimate], np.ndarray]:
    """Measure maps of one object each; return the precision of each image too."""
    pooled, ranked = Segmentation("imagenet-segmentation"), Segmentation(PRECISION)
    for each in (pooled, ranked):
        each.add(maps, masks)
    a, b = (each.result(DRAWS, confidence=CONFIDENCE) for each in (ranked, pooled))
    return {"ap": a.average_precision, "miou": b.miou, "pointing": a.pointing}, ranked.rows.average_precision


def named(maps: Tensor, two: World) -> np.ndarray:
    """Return for each image how often of its two questions the map is larger on the object that was asked for."""
    first, second = (torch.from_numpy(m) for m in (two.masks, two.others))
    over = [(maps.double() * m[:, None]).sum((2, 3)) / m.sum((1, 2))[:, None] for m in (first, second)]
    difference = over[0] - over[1]
    right = torch.stack([difference[:, 0], -difference[:, 1]], 1)
    return ((right > 0).double() + (right == 0).double() / 2).mean(1).numpy()


def estimate(values: np.ndarray) -> Estimate:
    """Average over images, with an interval of the bootstrap."""
    source = np.random.default_rng(0)
    drawn = values[source.integers(len(values), size=(DRAWS, len(values)))].mean(1)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(values.mean()), float(low), float(high), len(values))


def vars_of(e: Estimate) -> tuple[float, float, float]:
    return e.value, e.low, e.high


def cell(e: Estimate | None) -> str:
    return "" if e is None else f"{e.value:.3f} [{e.low:.2f}, {e.high:.2f}]"


def summary(results: Mapping[str, Result]) -> Result:
    """Write the precision of all methods on all models, and by how much ours is ahead."""
    labels = list(dict.fromkeys(label for r in results.values() for label in r.figures["methods"]))
    sheets = []
    for measure_, title in COLUMNS.items():
        table = {
            label: [r.figures["methods"].get(label, {}).get(measure_, [float("nan")])[0] for r in results.values()]
            for label in labels
        }
        order = sorted(labels, key=lambda label: -float(np.nan_to_num(np.nanmean([*table[label], -1.0]))))
        rows = [[label, *("" if np.isnan(x) else f"{x:.3f}" for x in table[label])] for label in order]
        sheets.append(Sheet(title, ("method", *(f"`{spec}`" for spec in results)), rows))
    return Result({}, sheets)


def pictures(subjects: Mapping[str, Subject], two: World) -> list[list[Panel]]:
    """Show one scene with two objects: a row for each model and object, a column for each of some methods."""
    shown = (OURS, "frozen", "value", "decompose", "legrad", "chefer")
    i = int(np.argmax(two.others.sum((1, 2))))
    rows = []
    for spec, seen in subjects.items():
        words = (two.words[i], two.other_words[i])
        maps = seen.maps([two.pictures[i]], [words], shown)
        for place, word in enumerate(words):
            first = Panel(np.asarray(two.pictures[i]), None, f"{spec}: {word}")
            found = [Panel(first.image, maps[m][0, place].numpy() if m in maps else None, m) for m in shown]
            rows.append([first, *found])
    return rows


def main(
    model: Annotated[list[str] | None, typer.Option(help="Specs, one each; default: the embedded models.")] = None,
    n: Annotated[int, typer.Option("-n", min=4, help="Scenes of each seed.")] = 100,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Of the scenes; default: 31 and 32.")] = None,
    aligned: Annotated[int, typer.Option(min=300, help="Training scenes to align with.")] = 2000,
    quick: Annotated[bool, typer.Option("--quick", help="A few scenes, to see whether it runs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for heatmaps.md, heatmaps.json and heatmaps.png.")] = None,
) -> None:
    """Measure heatmaps on scenes whose masks are known."""
    console = Console()
    settings = Settings(8, (31,), 400) if quick else Settings(n, tuple(seed or (31, 32)), aligned)
    with one_line_errors():
        clip = ClipSpace(CLIP, device="cpu")
        one, two = (World.draw(settings, two=both) for both in (False, True))
        results, subjects = {}, {}
        for spec in model or [f"scenes:{name}" for name in adapters()["scenes"].names()]:
            subjects[spec] = subject(load_model(spec), clip, settings)
            results[spec] = measure(subjects[spec], one, two)
            console.rule(spec, align="left")
            console.print(results[spec].sheets[0].rich(), *results[spec].notes, "", sep="\n", highlight=False)
        told = {"All models": summary(results), **results}
        console.print(told["All models"].sheets[0].rich())
        if out is not None:
            about = {"n": settings.n, "seeds": settings.seeds, "aligned": settings.aligned}
            sentence = HEADING[1].format(
                **{**about, "seeds": " and ".join(map(str, settings.seeds))}, ceiling=CEILING, true=TRUE
            )
            write(out, "heatmaps", (HEADING[0], f"{sentence}\n\n![Maps of a scene](heatmaps.png)"), about, told)
            with atomic(out / "heatmaps.png") as partial:
                draw(pictures(subjects, two), partial)


if __name__ == "__main__":
    typer.run(main)
