r"""Is what texts say of latent tokens what the model uses, and does it lie where the object is?

    python benchmarks/latent_faithfulness.py --out docs/benchmarks          every embedded model
    python benchmarks/latent_faithfulness.py --model scenes:deit --seed 5
    python benchmarks/latent_faithfulness.py --quick

After the two checks of INViTE: regions that texts name are masked in the image, beside random regions of equal area;
and the heatmap of a token's text is compared with the object. `--out` writes `latent_faithfulness.md` and
`latent_faithfulness.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from latent_scenes import UNDER, Subject, World
from named_regions import Read, Vocabulary, moved, random_patches
from one_line_errors import one_line_errors
from rich.console import Console
from scenes_heatmaps import CLIP, Settings
from sheets import Result, Sheet, write
from torch import Tensor
from vitdecomp_alignment import ClipSpace

from vitdecomp import SpecError
from vitdecomp.heatmaps import explain_each
from vitdecomp.metrics import Bootstrap, Estimate, localisation
from vitdecomp.models.adapter import adapters, load_model
from vitdecomp.models.preprocessing import preprocessing

TUNED = 61  # the seed of the scenes that layers are chosen on
FACTORS_ON = tuple(factor for factor, on in UNDER.items() if on)  # those of the object
REGIONS: Mapping[str, Sequence[str]] = {**{factor: (factor,) for factor in FACTORS_ON}, "any of them": FACTORS_ON}
METHODS = ("legrad", "decompose", "value", "center")
BLIND = "center"  # a map that reads neither image nor text
MEASURES = {"average_precision": "AP", "inside": "mass inside", "iou": "IoU"}
BOOTSTRAP = Bootstrap()
HEADING = (
    "Faithfulness of latent tokens on scenes",
    "{n} scenes of each of the seeds {seeds}; layers were chosen on {n} scenes of seed {tuned}, by what masking costs "
    "beyond random patches. Of each patch the text with the largest cosine counts, out of those of all shapes, colors, "
    "patterns and locations. *Masked*: in the image, the patches whose text is the true shape (color, pattern) of the "
    "object get the mean color of all scenes; beside them as many random patches, and the same region moved to a "
    "random place, around the edges. *Drop*: of the cosine of the representation with the true value (mean of its "
    "texts, minus the mean over values), in hundredths; *right*: how often the nearest value is the true one, before, "
    "and with the named, the random and the moved region masked. *Overlap*: heatmaps of the true value, where a patch "
    "of that layer has its text, compared with the object: average precision of the pixels, share of the positive mass "
    "inside, and IoU of as many pixels as the object has; beside them the map of another scene's value, and a Gaussian "
    "in the center. Only scenes with such a patch count. In brackets: 95% of the bootstrap over scenes. Models without "
    "texts are aligned with `scenes:clip` by the closed form of the whole representation, on {aligned} training scenes "
    "of another seed.",
)
MASKED: Mapping[str, Callable[[Tensor, tuple[int, int], torch.Generator], Tensor]] = {
    "named": lambda region, grid, generator: region,
    "random": lambda region, grid, generator: random_patches(region, generator),
    "moved": moved,
}
Drops = Mapping[str, tuple[np.ndarray, np.ndarray]]  # of the score, and whether the answer is right, by region


def drops(read: Read, factors: Sequence[str], layer: int, kinds: Iterable[str] = tuple(MASKED)) -> Drops:
    """Mask some kinds of regions of the scenes whose tokens name something rightly."""
    region, generator = read.region(factors, layer), torch.Generator().manual_seed(0)
    some, (before, right) = region.any(1), read.scored(factors)
    found = {"nothing": (np.zeros(int(some.sum())), right[some].numpy())}
    for kind in kinds:
        score, after = read.scored(factors, MASKED[kind](region, read.grid, generator))
        found[kind] = (before - score)[some].numpy() * 100, after[some].numpy()
    return found


def chosen_layer(tuned: Read, factors: Sequence[str], every: int) -> int:
    """Choose, of every so many layers, the one whose named regions cost most beyond random patches.

    Scenes without a region count as 0.
    """

    def gain(layer: int) -> float:
        found = drops(tuned, factors, layer, ("named", "random"))
        return float((found["named"][0] - found["random"][0]).sum())

    return max(range(0, tuned.best.shape[1], every), key=gain)


def masking(read: Read, layers: Mapping[str, int]) -> tuple[dict[str, Any], Sheet]:
    """Measure what masking named regions costs."""
    figures, rows = dict[str, Any](), list[list[str]]()
    for name, factors in REGIONS.items():
        found, region = drops(read, factors, layers[name]), read.region(factors, layers[name])
        first, n = [name, f"{layers[name]}"], len(found["nothing"][0])
        if not n:
            rows.append([*first, "0", *([""] * 7)])
            continue
        share = float(region[region.any(1)].double().mean())
        cost = {key: float(values.mean()) for key, (values, _) in found.items() if key != "nothing"}
        ahead = {key: BOOTSTRAP.mean(found["named"][0] - found[key][0]) for key in ("random", "moved")}
        right = {key: float(each.mean()) for key, (_, each) in found.items()}
        figures[name] = {
            "layer": layers[name],
            "n": n,
            "share": share,
            "drop": cost,
            "ahead": {key: ends(each) for key, each in ahead.items()},
            "right": right,
        }
        told = [*(f"{each:.1f}" for each in cost.values()), *(difference(each, 1) for each in ahead.values())]
        rows.append([*first, f"{n}", f"{share:.0%}", *told, " / ".join(f"{each:.0%}" for each in right.values())])
    header = (
        "masked: true",
        "layer",
        "scenes",
        "area",
        "drop",
        "random",
        "moved",
        "over random",
        "over moved",
        "right",
    )
    return figures, Sheet("Named regions masked", header, rows)


def overlap(read: Read, layers: Mapping[str, int]) -> tuple[dict[str, Any], Sheet]:
    """Compare heatmaps of the texts of tokens with the objects."""
    figures, rows = dict[str, Any](), list[list[str]]()
    for factor in FACTORS_ON:
        some = read.region((factor,), layers[factor]).any(1)
        if not bool(some.any()):
            rows.append([factor, "", "0", *([""] * 5)])
            continue
        truth, q = read.world.truth[factor], read.directions(factor)
        both = torch.stack([q[truth], q[other_values(truth)]], 1)[some]
        masks, figures[factor] = read.world.masks[some.numpy()], dict[str, Any]()
        for method, grid in maps(read, read.images[some], both).items():
            own, other = (localisation(grid[:, i], masks) for i in (0, 1))
            means = {name: BOOTSTRAP.mean(getattr(own, name)) for name in MEASURES}
            ahead = BOOTSTRAP.mean(own.average_precision - other.average_precision)
            figures[factor][method] = {
                **{name: ends(each) for name, each in means.items()},
                "another": float(other.average_precision.mean()),
                "ahead": ends(ahead),
                "chance": float(own.chance.mean()),
            }
            text = ["", ""] if method == BLIND else [f"{other.average_precision.mean():.3f}", difference(ahead, 3)]
            measured = [f"{each.value:.3f} [{each.low:.2f}, {each.high:.2f}]" for each in means.values()]
            rows.append([factor, method, f"{len(masks)}", measured[0], *text, *measured[1:]])
    header = ("named: true", "map", "scenes", "AP", "AP, another's value", "over it", "mass inside", "IoU")
    return figures, Sheet("Heatmaps of what tokens are named", header, rows, words=2)


def maps(read: Read, images: Tensor, directions: Tensor) -> dict[str, Tensor]:
    """Return maps of each image's directions, `(n, direction, h, w)`, by the methods that take the model."""
    found = dict[str, Tensor]()
    for method in METHODS:
        try:
            made = explain_each(read.subject.tokens.decomposer_, images, directions.to(images), [method])
        except SpecError:
            continue  # a product of patterns of several grids; the table has no row of it
        found[method] = made[method].grid
    return found


def other_values(truth: Tensor) -> Tensor:
    """Give each scene the value of the next one that differs."""
    order = [[*range(i + 1, len(truth)), *range(i)] for i in range(len(truth))]
    numbers = truth.tolist()
    return torch.tensor([next(numbers[j] for j in some if numbers[j] != numbers[i]) for i, some in enumerate(order)])


def ends(estimate: Estimate) -> list[float]:
    """Return a measure and its interval."""
    return [estimate.value, estimate.low, estimate.high]


def difference(estimate: Estimate, digits: int) -> str:
    """Write a difference with its interval."""
    value, low, high = (f"{each:+.{digits}f}" for each in ends(estimate))
    return f"{value} [{low}, {high}]"


def measure(
    subject: Subject, vocabulary: Vocabulary, tuning: World, world: World, images: tuple[Tensor, Tensor], every: int = 1
) -> Result:
    """Choose layers on some scenes, and report on others."""
    tuned, read = (Read.of(subject, vocabulary, w, x) for w, x in zip((tuning, world), images, strict=True))
    layers = {name: chosen_layer(tuned, factors, every) for name, factors in REGIONS.items()}
    masked, lying = masking(read, layers), overlap(read, layers)
    chance = float(world.masks.mean())
    notes = [
        f"Patches: {read.grid[0]} x {read.grid[1]}; layers 0 to {read.best.shape[1] - 1}, the last is the model's own"
    ]
    notes.append(f"Chance: AP and mass inside {chance:.3f}, the mean area of an object")
    return Result({"masked": masked[0], "overlap": lying[0], "grid": read.grid}, [masked[1], lying[1]], notes)


def main(
    model: Annotated[list[str] | None, typer.Option(help="Specs, one each; default: the embedded models.")] = None,
    n: Annotated[int, typer.Option("-n", min=12, help="Scenes of each seed.")] = 150,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Of the scenes; default: 66 and 67.")] = None,
    aligned: Annotated[int, typer.Option(min=300, help="Training scenes to align with.")] = 2000,
    quick: Annotated[bool, typer.Option("--quick", help="A few scenes, to see whether it runs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for latent_faithfulness.md and .json.")] = None,
) -> None:
    """Measure whether what texts say of latent tokens is what the model uses."""
    console = Console(width=150)
    settings = Settings(12, (66,), 300) if quick else Settings(n, tuple(seed or (66, 67)), aligned)
    with one_line_errors():
        clip, results = ClipSpace(CLIP, device="cpu"), {}
        vocabulary, world = Vocabulary.of(clip), World.draw(settings)
        tuning = World.draw(Settings(settings.n, (TUNED,), settings.aligned))
        for spec in model or [f"scenes:{name}" for name in adapters()["scenes"].names()]:
            loaded = load_model(spec)
            subject = Subject.of(loaded, clip, settings, world.pictures)
            images = torch.stack([preprocessing(loaded)(picture) for picture in tuning.pictures])
            results[spec] = measure(subject, vocabulary, tuning, world, (images, subject.images), 3 if quick else 1)
            console.print(f"[bold]{spec}[/]", *(sheet.rich() for sheet in results[spec].sheets), "", sep="\n")
        if out is not None:
            about = {"n": settings.n, "seeds": settings.seeds, "tuned": TUNED, "aligned": settings.aligned}
            sentence = HEADING[1].format(**{**about, "seeds": " and ".join(map(str, settings.seeds))})
            write(out, "latent_faithfulness", (HEADING[0], sentence), about, results)


if __name__ == "__main__":
    typer.run(main)
