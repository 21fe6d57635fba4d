r"""Do tokens of one object, put in the place of another's, change the answer, and nothing else of it?

    python benchmarks/latent_swap.py --out docs/benchmarks          every embedded model
    python benchmarks/latent_swap.py --model scenes:deit --seed 5
    python benchmarks/latent_swap.py --quick

After the entity editing of INViTE (cars replaced by airplanes turn a highway into an airport). `--out` writes
`latent_swap.md` and `latent_swap.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from latent_scenes import UNDER, Subject, values_of
from one_line_errors import one_line_errors
from PIL import Image
from rich.console import Console
from scenes_heatmaps import CLIP, Settings
from sheets import Result, Sheet, write
from torch import Tensor
from torch.nn.functional import normalize
from vitdecomp_alignment import ClipSpace
from vitdecomp_alignment.texts.scene import scene_values

import vitdecomp as vd
from vitdecomp.heatmaps.grid import summed
from vitdecomp.models.adapter import adapters, load_model
from vitdecomp.scenes import FACTORS, SceneDataset
from vitdecomp.scenes.render import draw
from vitdecomp.scenes.scene import Scene

COVERED = 0.2  # share of a patch from which it belongs to the object by truth
PLACES = 4  # layers that are edited, evenly spaced
OTHERS = {"location": 0}  # the answer that should stay the first image's; all others should become the second's
HEADING = (
    "Entities exchanged by their tokens",
    "Patches of one scene are replaced by the same patches of another, in front of one block. {n} pairs of each of the "
    "seeds {seeds}; nothing was tuned. Both objects lie at the same place and are of the same size; all else may "
    "differ. *Words*: patches whose best text in that layer, in either scene, names a shape, a color or a pattern, and "
    "not a location. *True mask*: patches that either object covers by {covered:.0%} or more. *Random*: as many "
    "patches of each image as *words* has. For shape, color and pattern: how often the answer becomes that of the "
    "second scene; for location: how often it stays that of the first; pairs count that differ in the factor. "
    "Precision and recall compare *words* with the true mask. Models without texts are aligned with `scenes:clip` by "
    "the closed form of the whole representation, on {aligned} training scenes of another seed.",
)


@dataclass(frozen=True)
class Pairs:
    """Scenes, and others whose objects lie at the same places.

    Attributes:
        pictures: the first scenes, then the second ones. masks: of both objects together.
        truth: numbers of the values of each factor, `(2, n)`.
    """

    pictures: list[Image.Image]
    masks: np.ndarray
    truth: Mapping[str, Tensor]

    @classmethod
    def draw(cls, settings: Settings) -> Pairs:
        """Pair the first scenes of each seed with the next ones."""
        first, second = list[Scene](), list[Scene]()
        for seed in settings.seeds:
            data = SceneDataset(2 * settings.n, seed, "test")
            alone = [replace(data.scene(i), second=None, occluded=False) for i in range(len(data))]
            first += alone[: settings.n]
            pairs = zip(alone[: settings.n], alone[settings.n :], strict=True)
            second += [replace(b, position=a.position, size=a.size) for a, b in pairs]
        drawn = [[draw(scene) for scene in scenes] for scenes in (first, second)]
        masks = np.stack([a[1] | b[1] for a, b in zip(*drawn, strict=True)])
        truth = {
            factor: torch.tensor(
                [[FACTORS[factor].index(s.values[factor]) for s in scenes] for scenes in (first, second)]
            )
            for factor in UNDER
        }
        return cls([Image.fromarray(image) for scenes in drawn for image, _ in scenes], masks, truth)


def named_patches(z: Tensor, clip: ClipSpace) -> Tensor:
    """Check which tokens, already in the space of texts, are nearest to a value that is no location."""
    values = {factor: [scene_values()[factor][value] for value in FACTORS[factor]] for factor in UNDER}
    vectors = [normalize(clip.encode_text(t).double(), dim=1).mean(0) for texts in values.values() for t in texts]
    places = torch.tensor([factor in OTHERS for factor, texts in values.items() for _ in texts])
    return ~places[(normalize(z.double(), dim=-1) @ normalize(torch.stack(vectors), dim=1).T).argmax(-1)]


def measure(subject: Subject, pairs: Pairs, values: Mapping[str, Tensor], clip: ClipSpace) -> Result:
    """Exchange tokens in front of some blocks, chosen by words, truth, or at random."""
    kinds, count = subject.tokens.tokens_, len(pairs.pictures) // 2
    patches = [i for i, token in enumerate(kinds) if token.kind == "patch"]
    grid = kinds[patches[0]].grid
    assert grid is not None
    covered = summed(torch.from_numpy(pairs.masks).double(), grid).flatten(1) / (pairs.masks[0].size / len(patches))
    true, z = covered >= COVERED, torch.cat(subject.read())[:, :, patches]
    first, second = subject.images[:count], subject.images[count:]
    generator = torch.Generator().manual_seed(0)
    order = torch.rand(true.shape, generator=generator).argsort(1)
    rows, figures = [["none", "", *_cells(answers(subject, subject.represent(first), values), pairs), ""]], {}
    blocks = len(subject.tokens.layers_)
    for layer in sorted({blocks * i // PLACES for i in range(PLACES)}):
        said = named_patches(z[:, layer], clip)
        words = said[:count] | said[count:]
        chosen = {"words": words, "true mask": true, "random": order < words.sum(1, keepdim=True)}
        for name, mask in chosen.items():
            whole = torch.zeros(count, len(kinds), dtype=torch.bool)
            whole[:, patches] = mask
            edited = vd.edit_tokens(subject.tokens.decomposer_, replace=(whole, second), layers=[layer])
            shares = _shares(answers(subject, edited(first), values), pairs)
            figures[f"{layer}, {name}"] = {**shares, "patches": float(mask.double().sum(1).mean())}
            both = (mask & true).sum()
            overlap = f"{both / mask.sum().clamp_min(1):.0%}, {both / true.sum():.0%}" if name == "words" else ""
            label = subject.tokens.layers_[layer] if name == "words" else ""
            rows.append([label, name, *(f"{share:.1%}" for share in shares.values()), overlap])
    header = (
        "in front of",
        "patches",
        *(f"{f} {'stays' if f in OTHERS else 'changes'}" for f in UNDER),
        "precision, recall",
    )
    return Result(figures, [Sheet(f"{count} pairs, {grid[0]} x {grid[1]} patches", header, rows, words=2)])


def answers(subject: Subject, z: Tensor, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the nearest value of each factor."""
    x = subject.mapped(z).double()
    return {factor: (x @ vectors.double().T).argmax(-1) for factor, vectors in values.items()}


def _shares(said: Mapping[str, Tensor], pairs: Pairs) -> dict[str, float]:
    """Return how often the answer is the wanted one, of the pairs that differ in the factor."""
    found = {}
    for factor, numbers in said.items():
        truth = pairs.truth[factor]
        differ = truth[0] != truth[1]
        found[factor] = float((numbers == truth[OTHERS.get(factor, 1)])[differ].double().mean())
    return found


def _cells(said: Mapping[str, Tensor], pairs: Pairs) -> list[str]:
    return [f"{share:.1%}" for share in _shares(said, pairs).values()]


def main(
    model: Annotated[list[str] | None, typer.Option(help="Specs, one each; default: the embedded models.")] = None,
    n: Annotated[int, typer.Option("-n", min=4, help="Pairs of each seed.")] = 150,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Of the scenes; default: 53 and 54.")] = None,
    aligned: Annotated[int, typer.Option(min=300, help="Training scenes to align with.")] = 2000,
    quick: Annotated[bool, typer.Option("--quick", help="A few scenes, to see whether it runs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for latent_swap.md and latent_swap.json.")] = None,
) -> None:
    """Exchange objects between scenes by their tokens."""
    console = Console(width=130)
    settings = Settings(12, (53,), 400) if quick else Settings(n, tuple(seed or (53, 54)), aligned)
    with one_line_errors():
        clip = ClipSpace(CLIP, device="cpu")
        values, pairs, results = values_of(clip), Pairs.draw(settings), {}
        for spec in model or [f"scenes:{name}" for name in adapters()["scenes"].names()]:
            subject = Subject.of(load_model(spec), clip, settings, pairs.pictures)
            results[spec] = measure(subject, pairs, values, clip)
            console.print(f"[bold]{spec}[/]", results[spec].sheets[0].rich(), "", sep="\n")
        if out is not None:
            about = {"n": settings.n, "seeds": settings.seeds, "aligned": settings.aligned}
            told = {**about, "seeds": " and ".join(map(str, settings.seeds)), "covered": COVERED}
            write(out, "latent_swap", (HEADING[0], HEADING[1].format(**told)), about, results)


if __name__ == "__main__":
    typer.run(main)
