r"""Are the scenes that a search within a feature finds alike in that feature, whose truth is known?

    python benchmarks/scenes_retrieval.py                          every embedded model
    python benchmarks/scenes_retrieval.py --model scenes:deit --top 5 --out results

A model without texts is aligned with `scenes:clip` on some scenes, on which the components of features are chosen by
texts too; others are searched. Prints the precision of the ten nearest images, by all components in the whole space
and in that of the feature's texts, and by the feature's components in both: for the words of every value, for
descriptions of a whole scene of which one feature counts, and for images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from scenes_truth import contributions
from sheets import Result, Sheet, number, write
from torch import Tensor
from vitdecomp_alignment import ClipSpace, ClosedForm
from vitdecomp_alignment.texts import scene_features
from vitdecomp_alignment.texts.grammar import with_articles

from vitdecomp import Contributions, Decomposer, FeatureScorer, LoadedModel, Query, Retriever, Scope, VitdecompError
from vitdecomp.adapter import adapters, load_model
from vitdecomp.aligned import Aligned
from vitdecomp.aligner import Aligner
from vitdecomp.images import preprocessing
from vitdecomp.scenes import SceneDataset
from vitdecomp.scenes.captions import COLOURS, NOUNS, PATTERNS, PLACES
from vitdecomp.truth import decodability, precision_at_k

CLIP = "scenes:clip"
FEATURES = ("shape", "colour", "pattern", "location")
NEAREST = 10
# Which components, and whether along the directions of texts alone.
WAYS: Mapping[str, tuple[Callable[[str], Scope], str]] = {
    "all": (lambda feature: Scope(), "whole"),
    "all, texts": (lambda feature: Scope(feature, ("*",)), "texts"),
    "its own": (Scope, "whole"),
    "its own, texts": (Scope, "texts"),
}


@dataclass(frozen=True)
class Settings:
    """What is measured: n scenes to learn from and n to search, so many queries, components of a feature."""

    n: int
    queries: int
    top: int
    center: bool
    seed: int


@dataclass(frozen=True)
class World:
    """Scenes with what is known of them."""

    pictures: list[Image.Image]
    descriptions: list[str]
    labels: Mapping[str, np.ndarray]

    @classmethod
    def draw(cls, settings: Settings, split: str) -> World:
        data = SceneDataset(settings.n, settings.seed, split)
        pictures = [Image.fromarray(data.sample(i).image) for i in range(len(data))]
        return cls(pictures, [described(data.scene(i).values) for i in range(len(data))], data.labels)


def described(values: Mapping[str, str]) -> str:
    """A sentence that tells all four features of a scene."""
    said = (PATTERNS[values["pattern"]], COLOURS[values["colour"]], NOUNS[values["shape"]], PLACES[values["location"]])
    return with_articles("a " + " ".join(phrases[0] for phrases in said))


@dataclass(frozen=True)
class Subject:
    """Contributions of a model to the scenes to learn from and to those to search, and its way to the texts."""

    learnt: Contributions
    searched: Contributions
    aligner: Aligner | None


def subject(loaded: LoadedModel, learning: World, searching: World, clip: ClipSpace) -> Subject:
    """Take the scenes apart, and align the model if it has no texts of its own."""
    preprocess = preprocessing(loaded)
    batches = [torch.stack([preprocess(picture) for picture in w.pictures]) for w in (learning, searching)]
    dec = Decomposer(loaded).fit(batches[0][:2])
    learnt, searched = (contributions(dec, images) for images in batches)
    if loaded.spec == clip.spec:
        return Subject(learnt, searched, None)
    return Subject(learnt, searched, ClosedForm().fit(learnt, clip.encode_image(learning.pictures, normalize=False)))


def measure(seen: Subject, searching: World, clip: ClipSpace, settings: Settings) -> Result:
    """Precision of every way to search, for all features and kinds of queries."""
    words = {f: w for f, w in scene_features().items() if f in FEATURES}
    texts = {f: clip.encode_text(w) for f, w in words.items()}
    source = seen.learnt if seen.aligner is None else Aligned(seen.learnt, seen.aligner)
    scorer = FeatureScorer(centre="feature", bootstrap=0, shuffles=0).fit(source, texts)
    searchers = {
        subspace: Retriever(
            seen.searched,
            aligner=seen.aligner,
            scorer=scorer,
            texts=texts,
            encode_text=clip,
            top=settings.top,
            center=settings.center,
            subspace=subspace,
        )
        for subspace in ("whole", "texts")
    }
    asked = np.random.default_rng(settings.seed).permutation(settings.n)[: settings.queries].tolist()
    result = Result({"features": {}})
    kinds: dict[str, list[list[str]]] = {"words": [], "descriptions": [], "images": []}
    for feature in FEATURES:
        labels = searching.labels[feature]
        found = {
            way: judged(searchers[subspace], scope(feature), words[feature], searching, asked, labels)
            for way, (scope, subspace) in WAYS.items()
        }
        known = decodability(seen.searched.total(), labels).score
        result.figures["features"][feature] = {**found, "readable": known}
        for kind, rows in kinds.items():
            cells = [found[way][kind] for way in WAYS]
            rows.append([feature, *map(number, cells), f"{100 * (cells[-1] - cells[0]):+.0f}", number(known)])
    for kind, rows in kinds.items():
        means = [f"{np.mean([float(row[i]) for row in rows]):.2f}" for i in range(1, len(WAYS) + 1)]
        gain = np.mean([float(row[-2]) for row in rows])
        header = (f"{kind} as queries", *WAYS, "points", "readable")
        title = f"Precision of the {NEAREST} nearest: {kind}"
        result.sheets.append(Sheet(title, header, [*rows, ["mean", *means, f"{gain:+.0f}", ""]]))
    return result


def judged(
    retriever: Retriever, scope: Scope, words: Sequence[str], world: World, asked: list[int], labels: np.ndarray
) -> dict[str, float]:
    """Precision for words, descriptions and images."""

    def precision(queries: Sequence[Query], wanted: np.ndarray, own: Sequence[int] | None = None) -> float:
        rows = retriever.nearest(queries, scope, k=NEAREST + (own is not None))[1]
        if own is not None:
            rows = torch.stack([without(found, row) for found, row in zip(rows, own, strict=True)])
        return float(precision_at_k(rows, labels, wanted, NEAREST).mean())

    return {
        "words": precision([Query(text=word) for word in words], np.arange(len(words))),
        "descriptions": precision([Query(text=world.descriptions[i]) for i in asked], labels[asked]),
        "images": precision([Query(image=i) for i in asked], labels[asked], asked),
    }


def without(rows: Tensor, own: int) -> Tensor:
    """Ten hits that are not the query itself."""
    return rows[rows != own][:NEAREST]


def main(
    model: Annotated[list[str] | None, typer.Option(help="Specs, one each; default: the embedded models.")] = None,
    n: Annotated[int, typer.Option("-n", min=100, help="Scenes to learn from, and scenes to search.")] = 1000,
    queries: Annotated[int, typer.Option(min=1, help="Images and descriptions that are asked for.")] = 200,
    top: Annotated[int, typer.Option(min=1, help="Components of a feature.")] = 12,
    center: Annotated[bool, typer.Option("--center/--no-center", help="Take off the mean of the scenes.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes and the queries.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for Markdown and JSON.")] = None,
) -> None:
    """Measure searches within a feature on scenes whose every factor is known."""
    console, settings = Console(), Settings(n, queries, top, center, seed)
    try:
        clip = ClipSpace(CLIP)
        learning, searching = World.draw(settings, "train"), World.draw(settings, "test")
        results: dict[str, Result] = {}
        for spec in model or [f"scenes:{name}" for name in adapters()["scenes"].names()]:
            seen = subject(load_model(spec), learning, searching, clip)
            results[spec] = measure(seen, searching, clip, settings)
            console.rule(spec, align="left")
            for sheet in results[spec].sheets:
                console.print(sheet.rich(), "")
        if out is not None:
            head = f"{n} scenes to learn from and {n} to search; {top} components a feature."
            write(out, "scenes_retrieval", ("Retrieval within a feature", head), vars(settings), results)
    except VitdecompError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, soft_wrap=True, style="red")
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
