r"""Do latent tokens name what lies under them, on scenes whose masks are known?

    python benchmarks/latent_scenes.py --out docs/benchmarks          every embedded model
    python benchmarks/latent_scenes.py --model scenes:deit --seed 5
    python benchmarks/latent_scenes.py --quick

A model without texts is aligned with `scenes:clip` on other scenes. `--out` writes `latent.md` and `latent.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from one_line_errors import one_line_errors
from PIL import Image
from rich.console import Console
from scenes_heatmaps import CLIP, TRAINING_SEED, Settings
from sheets import Result, Sheet, write
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm
from vitdecomp_alignment.texts.scene import scene_values

import vitdecomp as vd
from vitdecomp import Decomposer, LoadedModel
from vitdecomp.component import WHOLE
from vitdecomp.heatmaps.grid import summed
from vitdecomp.latent.description import mapped
from vitdecomp.models.adapter import adapters, load_model
from vitdecomp.models.preprocessing import preprocessing
from vitdecomp.scenes import FACTORS, SceneDataset

ON, OFF = 0.5, 0.0  # shares of a patch that the object covers, from which and up to which it is on the object or not
UNDER = {"shape": True, "colour": True, "pattern": True, "location": False}  # on the object, or beside it
HEADING = (
    "Latent tokens on scenes",
    "Does the nearest text of a latent token name what truly lies under it? {n} scenes of each of the seeds {seeds}. "
    "Layer k: from block k on every token attends to itself alone; the last row is the model's own tokens. For each "
    "factor, a value is the mean of the unit vectors of its texts, minus the mean over values; the nearest one by "
    "cosine is compared with the truth. Shape, color and pattern: of the patches that the object covers by half or "
    "more; location: of those that it does not touch. *Shuffled*: the truth of another image; *drift*: 1 minus the "
    "cosine with the model's own token. Models without texts are aligned with `scenes:clip` by the closed form of the "
    "whole representation, on {aligned} training scenes of another seed.",
)


@dataclass(frozen=True)
class World:
    """Scenes, where their objects are, and the number of the value of each factor."""

    pictures: list[Image.Image]
    masks: np.ndarray
    truth: Mapping[str, Tensor]

    @classmethod
    def draw(cls, settings: Settings) -> World:
        """Draw the first scenes of each seed."""
        data = [SceneDataset(settings.n, seed, "test") for seed in settings.seeds]
        samples = [each.sample(i) for each in data for i in range(len(each))]
        truth = {factor: torch.tensor([s.labels[factor] for s in samples]) for factor in UNDER}
        return cls([Image.fromarray(s.image) for s in samples], np.stack([s.mask for s in samples]), truth)


def values_of(clip: ClipSpace) -> dict[str, Tensor]:
    """Return a vector for each value of each factor, `(value, d)`, centered."""
    found = {}
    for factor in UNDER:
        texts = scene_values()[factor]
        vectors = [
            torch.nn.functional.normalize(clip.encode_text(texts[v]).double(), dim=1).mean(0) for v in FACTORS[factor]
        ]
        found[factor] = torch.stack(vectors) - torch.stack(vectors).mean(0)
    return found


@dataclass(frozen=True)
class Subject:
    """A model with its tokens, and the map into the space of texts."""

    tokens: vd.LatentTokens
    images: Tensor
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def of(cls, loaded: LoadedModel, clip: ClipSpace, settings: Settings, pictures: list[Image.Image]) -> Subject:
        """Trace the model, and align it if it has no texts of its own."""
        preprocess = preprocessing(loaded)
        images = torch.stack([preprocess(p) for p in pictures])
        dec = Decomposer(loaded).fit(images[:2])
        tokens = vd.LatentTokens(dec).fit(images[:2])
        if loaded.spec == clip.spec:
            return cls(tokens, images, None, None)
        data = SceneDataset(settings.aligned, TRAINING_SEED, "train")
        others = [Image.fromarray(data.sample(i).image) for i in range(len(data))]
        c = dec.transform(torch.stack([preprocess(p) for p in others]), by="representation")
        aligner = ClosedForm().fit(c, clip.encode_image(others, normalize=False))
        return cls(tokens, images, aligner.restricted(WHOLE), aligner.maps_.bias)

    def read(self) -> list[Tensor]:
        """Return the tokens of all layers in the space of texts, some images at a time."""
        return [self.mapped(z).float() for z in self.tokens.batches(self.images)]

    def represent(self, images: Tensor) -> Tensor:
        """Compute representations."""
        return self.tokens.decomposer_.represent(images)

    def mapped(self, z: Tensor) -> Tensor:
        """Take vectors into the space of texts."""
        return mapped(z, self.weight, self.bias)


def measure(subject: Subject, world: World, values: Mapping[str, Tensor]) -> Result:
    """Compare the nearest values with the truth, by layer."""
    kinds = subject.tokens.tokens_
    patches = [i for i, token in enumerate(kinds) if token.kind == "patch"]
    grid = kinds[patches[0]].grid
    assert grid is not None
    covered = summed(torch.from_numpy(world.masks).double(), grid).flatten(1) / (world.masks[0].size / len(patches))
    z = torch.cat(subject.read())[:, :, patches]
    drift = 1 - torch.cosine_similarity(z, z[:, -1:], dim=-1).mean((0, 2))
    right: dict[str, list[tuple[float, float]]] = {}
    for factor, vectors in values.items():
        said = (z @ vectors.T.to(z)).argmax(-1)
        counted = covered >= ON if UNDER[factor] else covered <= OFF
        truth = world.truth[factor]
        shares = [_share(said, each, counted) for each in (truth, truth.roll(1))]
        right[factor] = list(zip(*shares, strict=True))
    layers = [*subject.tokens.layers_, "the model's own"]
    rows = [[name, *(f"{right[f][k][0]:.1%}" for f in values), f"{drift[k]:.2f}"] for k, name in enumerate(layers)]
    rows.append(["shuffled, the largest of all layers", *(f"{max(x[1] for x in right[f]):.1%}" for f in values), ""])
    rows.append(["chance", *(f"{1 / len(FACTORS[f]):.1%}" for f in values), ""])
    title = f"{len(world.pictures)} scenes, {grid[0]} x {grid[1]} patches"
    figures = {"right": right, "drift": drift.tolist(), "layers": layers}
    return Result(figures, [Sheet(title, ("layer", *values, "drift"), rows)])


def _share(said: Tensor, truth: Tensor, counted: Tensor) -> list[float]:
    """Return for each layer the share of the patches that count whose value is right."""
    hits = (said == truth[:, None, None]) & counted[:, None]
    found: list[float] = (hits.sum((0, 2)) / counted.sum()).tolist()
    return found


def main(
    model: Annotated[list[str] | None, typer.Option(help="Specs, one each; default: the embedded models.")] = None,
    n: Annotated[int, typer.Option("-n", min=4, help="Scenes of each seed.")] = 150,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Of the scenes; default: 51 and 52.")] = None,
    aligned: Annotated[int, typer.Option(min=300, help="Training scenes to align with.")] = 2000,
    quick: Annotated[bool, typer.Option("--quick", help="A few scenes, to see whether it runs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for latent.md and latent.json.")] = None,
) -> None:
    """Measure whether latent tokens name what lies under them."""
    console = Console()
    settings = Settings(8, (51,), 400) if quick else Settings(n, tuple(seed or (51, 52)), aligned)
    with one_line_errors():
        clip = ClipSpace(CLIP, device="cpu")
        values, world = values_of(clip), World.draw(settings)
        results = {}
        for spec in model or [f"scenes:{name}" for name in adapters()["scenes"].names()]:
            results[spec] = measure(Subject.of(load_model(spec), clip, settings, world.pictures), world, values)
            console.print(f"[bold]{spec}[/]", results[spec].sheets[0].rich(), "", sep="\n")
            if out is not None:
                about = {"n": settings.n, "seeds": settings.seeds, "aligned": settings.aligned}
                sentence = HEADING[1].format(**{**about, "seeds": " and ".join(map(str, settings.seeds))})
                write(out, "latent", (HEADING[0], sentence), about, results)


if __name__ == "__main__":
    typer.run(main)
