"""Directions of components in coherent sums of texts (COMP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from vitdecomp._utils.console import make_table, print_table
from vitdecomp._utils.progress import Progress, Stage
from vitdecomp.component import Component, matching
from vitdecomp.errors import SpecError
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions
from vitdecomp.units import Directions
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.cli.describe.descriptions import DescribeConfig, summary
from vitdecomp_alignment.clip.contributions import in_clip
from vitdecomp_alignment.comp.comp import Comp
from vitdecomp_alignment.texts import named_texts, usual_texts

LEGEND = (
    "strength: what directions are ordered by, as a share of the strongest",
    "similarity: cosine of the direction (+) or its opposite (-) with the sum of its texts",
    "control: the best of as many random directions of the component; one that does not beat it has no name",
)


@dataclass(frozen=True, slots=True)
class SeenDirection:
    """A direction in the space of the texts.

    Attributes:
        unit: the key. parent: the component that it is a part of. strength: what directions are ordered by.
        vector: the direction. control: a random one of the same component.
    """

    unit: Component
    parent: Component
    strength: float
    vector: Float[Tensor, " d"]
    control: Float[Tensor, " d"]


@dataclass(frozen=True, slots=True)
class CoherentResult:
    """Directions beside texts.

    Attributes:
        directions: those to name. labels: the pool. texts: its vectors, `(pool, d)`. clip: the spec of their model.
        images: how many there are. skipped: names of those that cannot be read.
    """

    directions: tuple[SeenDirection, ...]
    labels: tuple[str, ...]
    texts: Float[Tensor, "pool d"]
    clip: str
    images: int
    skipped: tuple[str, ...] = ()

    def summary(self, model: str) -> dict[str, Any]:
        """Give what stands above the table, for a terminal and as JSON."""
        return summary(model, self.clip, self.images, self.skipped, self.labels)


def in_directions(
    options: ModelOptions, config: DescribeConfig, place: Path, *, loading: Loading, stage: Stage
) -> CoherentResult:
    """Bring the directions of a model's components and a pool of texts into one space.

    Raises:
        InputError: no images, texts or maps, or maps of another model.
        SpecError: no such model, pool or unit, no directions, or a model without texts and no maps.
        OutputError: the cache cannot be written.
    """
    reading = config.reading
    if reading.directions is None:
        raise SpecError("--method comp names directions: add --directions K, or singular:K")
    chosen = named_texts(config.texts) if config.texts else None  # before the model runs, since it may not exist
    if reading.directions.kind == "singular" and reading.store is None:
        reading = replace(reading, limit=1)  # whose contributions say which components there are
    found = in_clip(options, reading, place, loading=loading, stage=stage)
    assert found.directions is not None
    if found.aligner is not None:
        found.aligner.advise("alone")
    directions = seen_directions(found.directions, found.aligner, config.components, options.seed)
    labels = chosen or usual_texts(found.space.spec)
    with stage(f"{len(labels):,} texts in {found.space.spec}"):
        texts = found.space.encode_text(labels).cpu()
    return CoherentResult(directions, labels, texts, found.space.spec, len(found.store), found.skipped)


def seen_directions(
    directions: Directions, aligner: LinearAligner | None, components: Sequence[str], seed: int
) -> tuple[SeenDirection, ...]:
    """Take directions, and random ones, into the space of the texts.

    Args:
        directions: of the components.
        aligner: maps into the space, if it is not the model's own.
        components: names or patterns of the units that are meant; all by default.
        seed: of the random ones.

    Raises:
        SpecError: a pattern that no unit matches.
    """
    units = [(unit, unit.index) for unit in directions.units if unit.index is not None]
    if components:
        meant = {*matching([unit.component for unit, _ in units], components)}
        units = [pair for pair in units if pair[0].component in meant]
    random = directions.random(seed)

    @cache
    def mapped(parent: Component) -> list[Tensor]:
        both = [directions.bases[parent], random.bases[parent]]
        return both if aligner is None else [aligner.restricted(parent, basis.T) for basis in both]

    return tuple(
        SeenDirection(
            unit.component,
            unit.parent,
            float(directions.strengths[unit.parent][index]),
            *(side[index] for side in mapped(unit.parent)),
        )
        for unit, index in units
    )


def coherent(result: CoherentResult, m: int, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Name both poles of every direction, the strongest direction first.

    What all texts of the pool share, that there is a picture, says nothing of a direction and is taken off them.

    Returns:
        For each its name, its strength, and for each pole texts with their weights, the cosine that their sum reaches,
        the best that random directions of the component reach, and whether it beats that.
    """
    texts, n = result.texts - result.texts.mean(0), len(result.directions)
    vectors = torch.stack([one.vector for one in result.directions])
    controls = torch.stack([one.control for one in result.directions])
    found = Comp(m=m).fit(torch.cat([vectors, -vectors, controls, -controls]), texts, result.labels, progress=progress)
    reached = found.similarity_.tolist()
    chance: dict[Component, float] = {}
    for one, *both in zip(result.directions, reached[2 * n : 3 * n], reached[3 * n :], strict=True):
        chance[one.parent] = max(chance.get(one.parent, 0.0), *both)
    strongest = max(one.strength for one in result.directions)
    rows = [
        {
            "component": one.unit.name,
            "strength": one.strength / max(strongest, 1e-300),
            "control": chance[one.parent],
            "poles": {sign: _pole(found, at, chance[one.parent]) for sign, at in (("+", i), ("-", n + i))},
        }
        for i, one in enumerate(result.directions)
    ]
    return sorted(rows, key=lambda row: -row["strength"])


def _pole(found: Comp, place: int, chance: float) -> dict[str, Any]:
    assert found.labels_ is not None
    similarity = float(found.similarity_[place])
    words = zip(found.labels_[place], found.weights_[place], strict=True)
    return {
        "similarity": similarity,
        "named": similarity > chance,
        "texts": [{"text": text, "weight": weight} for text, weight in words],
    }


def show_coherent(console: Console, found: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print the texts of both poles of every direction."""
    title = f"{found['model']} in words of {found['clip']}: {len(rows):,} directions, {found['pool']:,} texts"
    columns = ("direction", "strength", "", "similarity", "control", "texts")
    table = make_table(*columns, words={"direction", "", "texts"}, title=title)
    for row in rows:
        for sign, pole in row["poles"].items():
            words = ", ".join(text["text"] for text in pole["texts"]) if pole["named"] else "-"
            similarity = f"{pole['similarity']:.2f}"
            strength, control = f"{row['strength']:.0%}", f"{row['control']:.2f}"
            table.add_row(row["component"], strength, sign, similarity, control, words)
    print_table(console, table)
    console.print("", *LEGEND, sep="\n")
