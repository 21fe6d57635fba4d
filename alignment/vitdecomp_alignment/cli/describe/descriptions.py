"""Every component of a model in a few texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.progress import Progress, Stage
from vitdecomp.component import Component, matching
from vitdecomp.contributions import Contributions
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions
from vitdecomp.sources.source import Columns, Source
from vitdecomp_alignment.clip.contributions import Reading, in_clip
from vitdecomp_alignment.texts import named_texts, usual_texts
from vitdecomp_alignment.textspan.textspan import TextSpan

S = TypeVar("S", bound=Source)


@dataclass(frozen=True, slots=True)
class DescribeResult(Generic[S]):
    """Contributions beside texts.

    Attributes:
        c: the contributions. components: those to name. shares: of the variance of these together, one for each.
        labels: the pool. texts: its vectors, `(pool, d)`. clip: the spec of the model that made them.
        skipped: names of images that cannot be read. features: what each text speaks of, where roles are asked for.
    """

    c: S
    components: tuple[Component, ...]
    shares: Float[Tensor, " component"]
    labels: tuple[str, ...]
    texts: Float[Tensor, "pool d"]
    clip: str
    skipped: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None

    def summary(self, model: str) -> dict[str, Any]:
        """Give what stands above the table of components, for a terminal and as JSON."""
        return summary(model, self.clip, len(self.c), self.skipped, self.labels)


def summary(model: str, clip: str, images: int, skipped: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Give what stands above a table of names."""
    return {"model": model, "clip": clip, "images": images, "skipped": list(skipped), "pool": len(labels)}


@dataclass(frozen=True, slots=True)
class DescribeConfig:
    """What to describe, with which words.

    Attributes:
        reading: which contributions.
        texts: the name of a pool, or a file; by default what suits the CLIP: `scene` for that of the embedded world,
            which knows no other words, and else `general`.
        components: names or patterns of those that are meant; all by default.
        features: what roles are chosen from, as for `feature_words.read_features`; `None` for no roles.
    """

    reading: Reading
    texts: str | None = None
    components: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None


def in_words(
    options: ModelOptions, config: DescribeConfig, cache: Path, *, loading: Loading, stage: Stage
) -> DescribeResult[Contributions]:
    """Bring a model's contributions and a pool of texts into one space.

    Raises:
        InputError: no images, texts or maps, or maps of another model.
        SpecError: no such model or pool, or a model without texts and no maps.
        OutputError: the cache cannot be written.
    """
    chosen = named_texts(config.texts) if config.texts else None  # before the model runs, since it may not exist
    check = partial(matching, patterns=config.components) if config.components else None
    found = in_clip(options, config.reading, cache, loading=loading, stage=stage, check=check)
    if found.aligner is not None:
        found.aligner.advise("alone")
    source, space = found.source, found.space
    labels = chosen or usual_texts(space.spec)
    c = taken(source, config.components)
    with stage(f"{len(labels):,} texts in {space.spec}"):
        texts = space.encode_text(labels).cpu()
    return DescribeResult(c, c.components, shares_of(c, c.components), labels, texts, space.spec, found.skipped)


def taken(source: Source, components: tuple[str, ...]) -> Contributions:
    """Take the contributions of some components to all images."""
    return Contributions.joined([_some(source, rows, components) for rows in _batches(len(source), 64)])


def shares_of(c: Columns, components: Sequence[Component]) -> Float[Tensor, " component"]:
    """Return the share that each component has of the variance of all together, read one by one."""
    every = (c.coefficients(component, range(len(c))) for component in components)
    spread = torch.stack([values.double().var(0).sum() for values in every])
    return (spread / spread.sum().clamp(min=1e-300)).float()


def described(
    result: DescribeResult[Contributions], m: int, rank: int | None, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Name the components that vary, the largest share of the variance first; constants never vary.

    Returns:
        For each its name, its share, and texts with the share of its variance that each explains.
    """
    span = TextSpan(m=m, rank=rank).fit(result.c, result.texts, result.labels, progress=progress)
    rows = [
        {
            "component": component.name,
            "share": float(share),
            "explained": float(found.explained.sum()),
            "texts": [
                {"text": result.labels[i], "explained": e}
                for i, e in zip(found.indices, found.explained.tolist(), strict=True)
            ],
        }
        for component, share, found in zip(span.components_, result.shares, span.spans_, strict=True)
        if found.indices and not component.is_constant
    ]
    return sorted(rows, key=lambda row: -row["share"])


def _batches(n: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, n)) for start in range(0, n, size))


def _some(source: Source, rows: Sequence[int], components: tuple[str, ...]) -> Contributions:
    c = source.take(rows)
    return c.select(components) if components else c
