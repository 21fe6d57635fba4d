r"""What the parts of a model know of scenes whose every factor is known, and whether taking them away proves it.

    python benchmarks/scenes_truth.py                                   every embedded model whose weights are there
    python benchmarks/scenes_truth.py --model scenes:deit -n 4000 --out results
    python benchmarks/scenes_truth.py --model timm:vit_tiny_patch16_224 --random-weights \
        --option img_size=64 --option patch_size=8 --option depth=2

Components are chosen on half of the scenes and judged on the others. Prints a table of each measure in
`vitdecomp.metrics`; `--out` writes the same as `scenes_truth.md` and as `scenes_truth.json`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from sheets import Result, Sheet, number, write
from torch import Tensor

from vitdecomp import Component, Contributions, Decomposer, LoadedModel, LoadError, SpecError, VitdecompError
from vitdecomp.metrics import (
    Knowledge,
    causal_matrix,
    choose,
    component_decodability,
    decodability,
    feature_precision,
    localisation,
)
from vitdecomp.models.adapter import adapters, load_model
from vitdecomp.models.preprocessing import preprocessing
from vitdecomp.models.random_weights import randomise
from vitdecomp.scenes import FACTORS, SceneDataset

BACKGROUND = ("location",)  # factors that lie where the object is not
BATCH = 100
GRID = 8  # patches in a row of a picture of 64 pixels
HEAD_TOKEN: Any = ("head", "token")


@dataclass(frozen=True)
class Settings:
    """What is measured: n scenes of a seed, k components for each factor, heatmaps of a few of the judged scenes."""

    n: int
    seed: int
    split: str
    k: int
    localised: int


@dataclass(frozen=True)
class World:
    """The scenes, drawn once for all models; the first half is for choosing, the masks are of the judged ones."""

    half: int
    pictures: list[Image.Image]
    masks: np.ndarray
    labels: dict[str, np.ndarray]

    @classmethod
    def draw(cls, settings: Settings) -> World:
        data = SceneDataset(settings.n, settings.seed, settings.split)
        half, samples = settings.n // 2, [data.sample(i) for i in range(len(data))]
        masks = np.stack([s.mask for s in samples[half : half + settings.localised]])
        labels = {f: data.labels[f] for f in FACTORS}
        return cls(half, [Image.fromarray(s.image) for s in samples], masks, labels)


def measure(loaded: LoadedModel, world: World, settings: Settings) -> Result:
    """Everything about one model."""
    began = time.perf_counter()
    preprocess = preprocessing(loaded)
    images = torch.stack([preprocess(picture) for picture in world.pictures])
    dec = Decomposer(loaded).fit(images[:2])
    c = contributions(dec, images)
    first, second = slice(None, world.half), slice(world.half, None)
    seen, judged = images_of(c, first), images_of(c, second)
    seen_labels, labels = ({f: v[part] for f, v in world.labels.items()} for part in (first, second))
    knowledge = component_decodability(seen, seen_labels, seed=settings.seed)
    chosen = choose(knowledge, min(settings.k, sum(not k.is_constant for k in c.components)))
    result = Result({"images": len(c), "components": len(c.components), "error": float(c.error.max())})
    result.figures["chosen"] = {f: [k.name for k in parts] for f, parts in chosen.items()}
    know(result, seen, seen_labels, knowledge, chosen)
    find(result, judged, labels, chosen, settings.seed)
    for refit in (False, True):
        ablate(result, judged, labels, chosen, refit, settings.seed)
    m = len(world.masks)
    directions = [value_directions(seen.total(), seen_labels[f], labels[f][:m]) for f in labels]
    localise(result, dec, images[second][:m], torch.stack(directions, 1), world.masks, chosen)
    result.figures["seconds"] = round(time.perf_counter() - began, 1)
    return result


def contributions(dec: Decomposer, images: Tensor) -> Contributions:
    """Contributions of all images, a batch at a time."""
    parts = [dec.transform(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    values, error = torch.cat([p.values for p in parts]), torch.cat([p.error for p in parts])
    return Contributions(values, parts[0].components, error, parts[0].bias_receivers)


def images_of(c: Contributions, part: slice) -> Contributions:
    """Take the contributions to some of the images."""
    return replace(c, values=c.values[part], error=c.error[part])


def know(
    result: Result,
    c: Contributions,
    labels: Mapping[str, np.ndarray],
    knowledge: Knowledge,
    chosen: Mapping[str, Sequence[Component]],
) -> None:
    """Measure what can be read from the whole, and from every component alone."""
    whole = {f: decodability(c.total(), values) for f, values in labels.items()}
    best = {f: knowledge.top(f, min(3, len(c.components))) for f in labels}
    scores = {f: dict(zip(knowledge.components, knowledge.of(f), strict=True)) for f in labels}
    result.figures["whole"] = {
        f: {"accuracy": d.accuracy, "chance": d.chance, "score": d.score} for f, d in whole.items()
    }
    result.figures["knowledge"] = {f: {k.name: round(float(s), 4) for k, s in scores[f].items()} for f in labels}
    rows = [
        [f, number(whole[f].score), names(best[f], scores[f]), names(chosen[f][:3], scores[f])]
        for f in knowledge.factors
    ]
    title = "What can be read, 0 (chance) to 1: from the representation, and from one component"
    result.sheets.append(Sheet(title, ("factor", "whole", "best components", "chosen by margin"), rows))


def find(
    result: Result,
    c: Contributions,
    labels: Mapping[str, np.ndarray],
    chosen: Mapping[str, Sequence[Component]],
    seed: int,
) -> None:
    """Retrieve by the chosen components."""
    found = feature_precision(c, labels, chosen, k=min(10, len(c) - 1), seed=seed)
    result.figures["precision"] = {"k": found.k, "across": found.across.tolist(), "factors": found.rows()}
    rows = [
        [str(row["factor"]), *(number(float(row[name])) for name in ("chosen", "everything", "chance"))]
        for row in found.rows()
    ]
    title = f"Precision of the {found.k} nearest images"
    result.sheets.append(Sheet(title, ("factor", "its components", "all components", "chance"), rows))


def ablate(
    result: Result,
    c: Contributions,
    labels: Mapping[str, np.ndarray],
    chosen: Mapping[str, Sequence[Component]],
    refit: bool,
    seed: int,
) -> None:
    """Measure what is lost without the chosen components."""
    found = causal_matrix(c, labels, chosen, refit=refit, seed=seed)
    result.figures["causal_refit" if refit else "causal"] = {
        "factors": found.factors,
        "before": found.before.tolist(),
        "after": found.after.tolist(),
        "control": found.control.tolist(),
        "selectivity": found.selectivity.tolist(),
    }
    columns = zip(found.factors, found.drop, found.control, found.selectivity, strict=True)
    rows = [[f, *map(number, drop), number(control), number(select)] for f, drop, control, select in columns]
    reader = "a reader fitted again" if refit else "the reader of the whole"
    title = f"What {reader} loses of each factor (columns) without the components of one (rows)"
    result.sheets.append(Sheet(title, ("ablated", *found.factors, "random", "selectivity"), rows))


def localise(
    result: Result,
    dec: Decomposer,
    images: Tensor,
    directions: Tensor,
    masks: np.ndarray,
    chosen: Mapping[str, Sequence[Component]],
) -> None:
    """Do the tokens that speak for a factor's value lie where the object is (for the location: where it is not)?"""
    parts = range(0, len(images), BATCH)
    maps = torch.cat([dec.attribute(images[i : i + BATCH], directions[i : i + BATCH], HEAD_TOKEN) for i in parts])
    heads = dec.components_of(HEAD_TOKEN)
    if maps.shape[-1] != 1 + GRID * GRID:
        result.notes.append(f"no localisation: {maps.shape[-1]} tokens are not a class token and 8 x 8 patches")
        return
    table, figures = [], {}
    for i, factor in enumerate(chosen):
        where = ~masks if factor in BACKGROUND else masks
        own = [j for j, head in enumerate(heads) if head in chosen[factor]]
        for part, some in (("all heads", list(range(len(heads)))), ("chosen heads", own)):
            if some:
                heat = maps[:, i, some, 1:].sum(1).reshape(-1, GRID, GRID)
                means = localisation(heat, where).mean()
                figures[f"{factor}, {part}"] = means
                table.append([f"{factor}, {part}", *map(number, means.values())])
            else:
                result.notes.append(f"no head among the components chosen for {factor}")
    result.figures["localisation"] = figures
    header = ("tokens for", *(name.replace("_", " ") for name in next(iter(figures.values()))))
    title = (
        f"Where the tokens that speak for the right value lie, on {len(masks)} scenes (location: outside the object)"
    )
    result.sheets.append(Sheet(title, header, table))


def value_directions(x: Tensor, labels: np.ndarray, wanted: np.ndarray) -> Tensor:
    """For each wanted value, the mean representation of images that have it minus that of all, `(wanted, d)`."""
    means = {int(v): x[torch.from_numpy(labels == v)].mean(0) - x.mean(0) for v in np.unique(labels)}
    return torch.stack([means.get(int(v), torch.zeros_like(x[0])) for v in wanted])


def names(components: Iterable[Component], scores: Mapping[Component, float]) -> str:
    return ", ".join(f"{k.name} {number(scores[k])}" for k in components)


def load(spec: str, random_weights: bool, options: Mapping[str, Any], seed: int) -> LoadedModel:
    torch.manual_seed(seed)
    loaded = load_model(spec, pretrained=not random_weights, **options)
    if random_weights:
        randomise(loaded.module, seed)
    loaded.module.eval()
    return loaded


def parse(option: str) -> tuple[str, Any]:
    """`name=value`, the value in JSON or else a string."""
    name, equals, text = option.partition("=")
    if not equals:
        raise SpecError(f"option {option!r} is not of the form name=value")
    try:
        return name, json.loads(text)
    except json.JSONDecodeError:
        return name, text


def main(  # noqa: PLR0913, PLR0917 - one parameter per option
    model: Annotated[list[str] | None, typer.Option(help="Specs, one each; default: the embedded models.")] = None,
    n: Annotated[int, typer.Option("-n", min=200, help="Scenes; half of them are judged on.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes, of splits and of random weights.")] = 0,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    k: Annotated[int, typer.Option(min=1, help="Components for each factor.")] = 3,
    localised: Annotated[int, typer.Option(min=1, help="Scenes with heatmaps.")] = 200,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Untrained, as a baseline.")] = False,
    option: Annotated[list[str] | None, typer.Option(help="name=value for the model's library.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for Markdown and JSON.")] = None,
) -> None:
    """Measure what the parts of vision transformers know of scenes whose every factor is known."""
    console, errors = Console(), Console(stderr=True)
    settings = Settings(n, seed, split, k, min(localised, n - n // 2))
    try:
        specs = model or [f"scenes:{name}" for name in adapters()["scenes"].names()]
        fetch = partial(load, random_weights=random_weights, options=dict(map(parse, option or [])), seed=seed)
        world = World.draw(settings)
        results: dict[str, Result] = {}
        for spec in specs:
            try:
                loaded = fetch(spec)
            except LoadError as error:
                if model:
                    raise
                errors.print(f"left out: {error}", highlight=False, soft_wrap=True)
                continue
            results[spec] = measure(loaded, world, settings)
            console.rule(spec, align="left")
            for sheet in results[spec].sheets:
                console.print(sheet.rich(), "")
            for note in results[spec].notes:
                console.print(note, highlight=False)
        if not results:
            raise LoadError("no model to measure: none of the embedded ones has its weights; name one with --model")
        if out is not None:
            head = (
                f"{settings.n} scenes (split `{settings.split}`, seed {settings.seed}), half of them for choosing "
                f"{settings.k} components a factor, half for judging."
            )
            write(out, "scenes_truth", ("Ground truth on scenes", head), vars(settings), results)
    except VitdecompError as error:
        errors.print(f"error: {error}", highlight=False, soft_wrap=True, style="red")
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
