"""What `vitdecomp describe` does: every component of a model in a few texts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.aligner import aligners
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.extract import Extraction, cached
from vitdecomp.files import make_directory
from vitdecomp.images import find_images
from vitdecomp.origin import Origin
from vitdecomp.prepare import Ready, Request, prepare
from vitdecomp.scenes import SceneDataset
from vitdecomp.shards import Loading, Progress
from vitdecomp_alignment import maps_file
from vitdecomp_alignment.clip_space import ClipSpace
from vitdecomp_alignment.linear import LinearAligner
from vitdecomp_alignment.texts import FEATURE_WORDS, general_texts, read_texts, scene_texts
from vitdecomp_alignment.textspan import TextSpan

Stage = Callable[[str], AbstractContextManager[Progress]]
WORLD = 512  # pictures of the embedded world, where no others are given


def _feature_texts() -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for words in FEATURE_WORDS.values() for word in words))


POOLS: Mapping[str, Callable[[], tuple[str, ...]]] = {
    "general": general_texts,
    "scene": scene_texts,
    "features": _feature_texts,
}


@dataclass(frozen=True, slots=True)
class Worded:
    """Contributions in the space of texts.

    Attributes:
        c: the contributions. shares: of the variance of all components together, one for each.
        labels: the pool. texts: its vectors, `(pool, d)`. clip: the spec of the model that made them.
    """

    c: Contributions
    shares: Float[Tensor, " component"]
    labels: tuple[str, ...]
    texts: Float[Tensor, "pool d"]
    clip: str


@dataclass(frozen=True, slots=True)
class Wording:
    """What to describe, with which words.

    Attributes:
        images: a folder; pictures of the embedded world by default.
        maps: what `vitdecomp align` wrote; not needed for a model with texts of its own.
        clip: the model whose texts are used; by default that of the maps.
        texts: the name of a pool, or a file; by default `scene` for the embedded world and else `general`.
        components: names or patterns of those that are meant; all by default.
        by: as for `Extraction`. limit: take no more images than this.
    """

    images: Path | None = None
    maps: Path | None = None
    clip: str | None = None
    texts: str | None = None
    components: tuple[str, ...] = ()
    by: str = "head"
    limit: int | None = 1000


def in_words(request: Request, wording: Wording, cache: Path, *, loading: Loading, stage: Stage) -> Worded:
    """A model's contributions and a pool of texts, in one space.

    Raises:
        InputError: no images, texts or maps, or maps of another model.
        SpecError: no such model or pool, or a model without texts and no maps.
        OutputError: the cache cannot be written.
    """
    aligner = None if wording.maps is None else load_aligner(wording.maps)
    labels = pool(wording.texts or ("general" if wording.images else "scene"))
    images = wording.images or world_images(cache)
    find_images(images, wording.limit)  # before a model is loaded for nothing
    with stage(f"contributions of {request.model}") as progress:
        subject = prepare(request)
        if aligner is not None and aligner.origin_ is not None:
            given = Origin.of(subject.loaded.module, subject.loaded.spec, aligner.origin_.output)
            aligner.origin_.check(given, "the maps are for")
        space = _space(subject, aligner, wording, request.device, cache)
        job = Extraction(images, wording.by, limit=wording.limit)
        store = cached(subject, job, cache, loading=loading, progress=progress)
    parts = (_aligned(batch, aligner, wording.components) for batch in store.batches(64))
    c = _joined(list(parts))
    with stage(f"{len(labels):,} texts in {space.spec}"):
        texts = space.encode_text(labels).cpu()
    spread = c.values.double().var(0).sum(1)
    return Worded(c, (spread / spread.sum().clamp(min=1e-300)).float(), labels, texts, space.spec)


def described(worded: Worded, m: int, rank: int | None, progress: Progress | None = None) -> list[dict[str, Any]]:
    """For every component that varies: its name, share of the variance, and texts with the share each explains."""
    span = TextSpan(m=m, rank=rank).fit(worded.c, worded.texts, worded.labels, progress=progress)
    return [
        {
            "component": component.name,
            "share": float(share),
            "explained": float(found.explained.sum()),
            "texts": [
                {"text": worded.labels[i], "explained": e}
                for i, e in zip(found.indices, found.explained.tolist(), strict=True)
            ],
        }
        for component, share, found in zip(span.components_, worded.shares, span.spans_, strict=True)
        if found.indices
    ]


def load_aligner(path: Path) -> LinearAligner:
    """The aligner in a file, of whatever kind.

    Raises:
        InputError: there is none, or of a kind that nobody knows.
    """
    name = maps_file.read(path).aligner
    known = aligners()
    for kind in (known[key] for key in known):
        if kind.__name__ == name and issubclass(kind, LinearAligner):
            loaded: LinearAligner = kind.load(path)
            return loaded
    raise InputError(f"{path} holds a {name}, which no installed package brings")


def pool(name: str) -> tuple[str, ...]:
    """The texts of a pool by its name, or of a file.

    Raises:
        InputError: there is no such pool or file, or no text in it.
    """
    if name in POOLS:
        return POOLS[name]()
    if not Path(name).exists():
        raise InputError(f"there are no texts {name!r}: give one of {', '.join(POOLS)}, or a file with one text a line")
    return read_texts(Path(name))


def world_images(cache: Path) -> Path:
    """A folder of pictures of the embedded world, drawn once, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    folder = cache / f"scenes-{WORLD}"
    if not folder.is_dir():
        make_directory(cache)
        with tempfile.TemporaryDirectory(dir=cache) as place:
            SceneDataset(WORLD, 0, "test").write(Path(place) / "scenes")
            (Path(place) / "scenes").replace(folder)
    return folder


def _space(subject: Ready, aligner: LinearAligner | None, wording: Wording, device: str, cache: Path) -> ClipSpace:
    """Where the texts are: the model's own space, or that of its maps."""
    if aligner is None:
        if subject.loaded.encode_text is None:
            raise SpecError(
                f"{subject.loaded.spec} has no texts of its own: give --maps, made with "
                f"`vitdecomp align {subject.loaded.spec} --clip CLIP --images DIR --out FILE`"
            )
        return ClipSpace(subject.loaded, cache=cache / "texts")
    known = aligner.target_
    spec = wording.clip or (known.model if known else None)
    if spec is None:
        raise SpecError("the maps do not say which CLIP they lead to: give --clip")
    space = ClipSpace(spec, device=device, cache=cache / "texts")
    if known is not None:
        known.check(Origin.of(space.loaded.module, space.spec, known.output), "the maps lead to")
    return space


def _aligned(c: Contributions, aligner: LinearAligner | None, components: tuple[str, ...]) -> Contributions:
    mapped = c if aligner is None else aligner.transform(c)
    return mapped.select(components) if components else mapped


def _joined(parts: list[Contributions]) -> Contributions:
    values, error = (torch.cat([getattr(part, key) for part in parts]) for key in ("values", "error"))
    return Contributions(values, parts[0].components, error, origin=parts[0].origin)
