"""Every component of a model in the texts that can best be read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from vitdecomp._utils.console import make_table, print_table
from vitdecomp._utils.progress import Progress, Stage
from vitdecomp.component import matching
from vitdecomp.errors import SpecError
from vitdecomp.extract import ExtractConfig
from vitdecomp.extract.units import find_directions
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, prepare
from vitdecomp.sources.source import Columns, Source
from vitdecomp.units import SplitSource
from vitdecomp_alignment.align.pairs import Pairing, gather
from vitdecomp_alignment.cli.describe.descriptions import DescribeConfig, DescribeResult, shares_of, taken
from vitdecomp_alignment.clip.contributions import NoTextsError, in_clip, pictures
from vitdecomp_alignment.clip.space import ClipSpace
from vitdecomp_alignment.readout.readout import Readout
from vitdecomp_alignment.texts import named_texts, usual_texts
from vitdecomp_alignment.texts.feature_words import read_features

ROLE = (
    "role: the feature with the most votes of the words that are best read, a third of all; its confidence is "
    "its share of the votes. In brackets: less than half, or no text that beats the control"
)
LEGEND = (
    "R2: of the similarity with the text, predicted from the component alone on images held out, with standard error",
    "control: the best R2 of any text where images are shuffled; a component that does not beat it has no name",
    "share: of the variance of all components over these images; constants do not vary and are left out",
)


def read_out(
    options: ModelOptions, config: DescribeConfig, cache: Path, *, loading: Loading, stage: Stage
) -> tuple[DescribeResult[Columns], Tensor]:
    """Decompose images, and let CLIP see them: no maps are needed, and a store is not expanded.

    Returns:
        Contributions in the model's own space beside the texts, and CLIP's vectors of the images, `(n, e)`.

    Raises:
        InputError: no images or texts. SpecError: no such model or pool, or a model without texts and no CLIP.
        OutputError: the cache cannot be written.
    """
    chosen = _texts(config)
    store, seen, space, skipped = _seen(options, config, cache, loading=loading, stage=stage)
    labels, features = chosen or (usual_texts(space.spec), None)
    c = store if isinstance(store, Columns) else taken(store, ())
    if config.reading.directions:
        c = SplitSource(c, find_directions(config.reading.directions, c, lambda: prepare(options)))
    components = matching(c.components, config.components) if config.components else c.components
    with stage(f"{len(labels):,} texts in {space.spec}"):
        texts = space.encode_text(labels).cpu()
    shares = shares_of(c, components)
    return DescribeResult(c, components, shares, labels, texts, space.spec, skipped, features), seen


def _texts(config: DescribeConfig) -> tuple[tuple[str, ...], tuple[str, ...] | None] | None:
    """Return the texts that are asked for, and what each speaks of; `None` for those that suit the CLIP."""
    if config.features is None:
        return (named_texts(config.texts), None) if config.texts else None
    words = read_features(config.features, config.reading.usual_features).words
    pairs = [(word, feature) for feature, several in words.items() for word in several]
    labels, features = zip(*pairs, strict=True)
    return labels, features


def _seen(
    options: ModelOptions, config: DescribeConfig, cache: Path, *, loading: Loading, stage: Stage
) -> tuple[Source, Tensor, ClipSpace, tuple[str, ...]]:
    """Return contributions, CLIP's vectors, and the space of texts; a model with texts sees for itself."""
    reading = config.reading
    if reading.clip is None:
        try:
            alone = replace(reading, maps=None, directions=None)  # which `read_out` finds for whatever is read here
            found = in_clip(options, alone, cache, loading=loading, stage=stage)
        except NoTextsError:
            raise SpecError(
                f"{options.model} has no texts of its own: give --clip, whose texts name it, or --maps"
            ) from None
        own = torch.cat([batch.total() for batch in found.store.batches(64)])
        return found.store, own, found.space, found.skipped
    job = None
    if reading.store is None:
        job = ExtractConfig(pictures(reading.images, cache), reading.by, limit=reading.limit)
    clip = ModelOptions(reading.clip, device=options.device, seed=options.seed, imports=options.imports)
    pairs = gather(Pairing(options, clip, cache, job, reading.store), loading=loading, stage=stage)
    space = ClipSpace(reading.clip, device=options.device, cache=cache / "texts")
    return pairs.store, pairs.target, space, () if job is None else job.skipped(pairs.store)


def readable(
    result: DescribeResult[Columns], seen: Tensor, m: int, random_state: int, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Name the components that vary, the largest share of the variance first."""
    readout = Readout(m=m, random_state=random_state)
    readout.fit(
        result.c,
        seen,
        result.texts,
        result.labels,
        features=result.features,
        components=result.components,
        progress=progress,
    )
    rows = [
        {
            "component": component.name,
            "share": float(share),
            "named": reading.named,
            "control": reading.control,
            **({} if reading.role is None else {"role": asdict(reading.role)}),
            "texts": [
                {"text": result.labels[i], "r2": r2, "error": error}
                for i, r2, error in zip(reading.indices, reading.scores, reading.errors, strict=True)
            ],
        }
        for component, share, reading in zip(readout.components_, result.shares, readout.readings_, strict=True)
        if reading.indices and not component.is_constant
    ]
    return sorted(rows, key=lambda row: -row["share"])


def show_readable(console: Console, found: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print the texts of every component, those without a name last."""
    title = f"{found['model']} in words of {found['clip']}: {found['images']:,} images, {found['pool']:,} texts"
    roles = any("role" in row for row in rows)
    columns = ("component", "share", "R2", "control", *(("role", "confidence") if roles else ()), "texts")
    table = make_table(*columns, words={"component", "role", "texts"}, title=title)
    for row in sorted(rows, key=lambda row: not row["named"]):
        first, *more = row["texts"]
        words = ", ".join([first["text"], *(f"{text['text']} ({text['r2']:.2f})" for text in more)])
        r2 = f"{first['r2']:.2f} ± {first['error']:.2f}"
        role = _role(row["role"]) if roles else ()
        words = words if row["named"] else "-"
        table.add_row(row["component"], f"{row['share']:.1%}", r2, f"{row['control']:.2f}", *role, words)
    print_table(console, table)
    console.print("", *LEGEND, *((ROLE,) if roles else ()), sep="\n")
    if roles:
        unclear = [row["component"] for row in rows if not row["role"]["clear"]]
        console.print("", f"no clear role, {len(unclear)} of {len(rows)}: {', '.join(unclear) or 'none'}", sep="\n")


def _role(found: Mapping[str, Any]) -> tuple[str, str]:
    """Write a role that is not clear in brackets."""
    return found["feature"] if found["clear"] else f"({found['feature']})", f"{found['confidence']:.0%}"
