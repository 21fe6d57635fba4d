"""What `vitdecomp align` does: contributions and CLIP's vectors of the same images, from the cache, to fitted maps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitdecomp.aligner import aligners
from vitdecomp.datasets import open_pictures
from vitdecomp.errors import InputError, SpecError
from vitdecomp.extract import REPRESENTATION, Extraction, cached
from vitdecomp.files import check_file
from vitdecomp.loading import Loading
from vitdecomp.origin import Origin
from vitdecomp.prepare import Ready, Request, prepare
from vitdecomp.progress import Stage
from vitdecomp.registry import did_you_mean
from vitdecomp.store import Store
from vitdecomp_alignment.clip_space import ClipSpace
from vitdecomp_alignment.judge import Judgement, judge, summarised
from vitdecomp_alignment.linear import LinearAligner
from vitdecomp_alignment.match import Vocabulary
from vitdecomp_alignment.prompts import TEMPLATES
from vitdecomp_alignment.texts import scene_texts


@dataclass(frozen=True, slots=True)
class Pairs:
    """The same images as a model takes them apart and as CLIP sees them.

    Attributes:
        subject, clip: the models. store: contributions to the subject's representations.
        target: CLIP's vectors, `(n, d_clip)`. target_origin: and where they come from.
    """

    subject: Ready
    clip: Ready
    store: Store
    target: Tensor
    target_origin: Origin


@dataclass(frozen=True, slots=True)
class Judged:
    """The judgements of one pair of models on some images."""

    model: str
    clip: str
    images: int
    rows: tuple[Judgement, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values: every judgement, and the means with their spread."""
        return {
            "model": self.model,
            "clip": self.clip,
            "images": self.images,
            "judgements": [asdict(row) for row in self.rows],
            "summary": {
                method: {key: asdict(spread) for key, spread in figures.items()}
                for method, figures in summarised(self.rows).items()
            },
        }


def gather(subject: Request, clip: Request, job: Extraction, cache: Path, *, loading: Loading, stage: Stage) -> Pairs:
    """Take images apart, and let CLIP see them, or read both from the cache.

    Raises:
        InputError: no images, or one that cannot be read.
        OutputError: the cache cannot be written.
        SpecError, LoadError: no such model, or its weights cannot be had.
    """
    open_pictures(job.images)  # before a model is loaded for nothing
    with stage(f"contributions of {subject.model}") as progress:
        ready = prepare(subject)
        store = cached(ready, job, cache, loading=loading, progress=progress)
    with stage(f"vectors of {clip.model}") as progress:
        seer = prepare(clip)
        seen = Extraction(job.images, REPRESENTATION, limit=job.limit)
        vectors = cached(seer, seen, cache, loading=loading, progress=progress)
    if vectors.ids != store.ids:
        raise InputError(f"{subject.model} and {clip.model} could not read the same images: leave out the broken ones")
    target = torch.cat([batch.total() for batch in vectors.batches(256)])
    return Pairs(ready, seer, store, target, vectors.origin)


def make_aligner(method: str, seed: int) -> LinearAligner:
    """An aligner by its name.

    Raises:
        SpecError: there is none, or it has no maps that could be saved.
    """
    known = aligners()
    name = method.replace("_", "-")
    if name not in known:
        raise SpecError(f"no aligner {method!r}{did_you_mean(name, list(known))}")
    aligner = known[name]
    if not issubclass(aligner, LinearAligner):
        raise SpecError(f"{method} is no linear aligner: use it in Python")
    made = aligner()
    made.set_params(random_state=seed)
    return made


def training_file(out: Path) -> Path:
    """Where a training that is not over yet is kept."""
    return out.with_name(f"{out.name}.training")


def fit(pairs: Pairs, aligner: LinearAligner, out: Path, stage: Stage) -> LinearAligner:
    """Fit an aligner and save it; an interrupted training goes on from a file beside the result.

    Raises:
        OutputError: the file cannot be written.
    """
    check_file(out)
    checkpoint = training_file(out)
    takes: Any = aligner.fit
    resumable = {"checkpoint": checkpoint} if "checkpoint" in signature(takes).parameters else {}
    with stage("fitting maps") as progress:
        takes(pairs.store, pairs.target, progress=progress, **resumable)
    aligner.target_ = pairs.target_origin
    aligner.metrics_ = {**aligner.metrics_, "cosine": aligner.score(pairs.store, pairs.target)}
    aligner.save(out)
    checkpoint.unlink(missing_ok=True)
    return aligner


def vocabulary(pairs: Pairs, cache: Path) -> Vocabulary | None:
    """The classes of the model: its classifier's vectors, and CLIP's of their names. `None` without a classifier."""
    known = pairs.subject.loaded.classifier
    if known is None:
        return None
    names = tuple(name.split(",")[0] for name in known.names)
    texts = ClipSpace(pairs.clip.loaded, cache=cache / "texts").encode_text(names, templates=TEMPLATES)
    return Vocabulary(known.names, known.layer.weight.detach().float().cpu(), texts.cpu())


def summary(pairs: Pairs, aligner: LinearAligner, out: Path) -> dict[str, Any]:
    """What was made, in plain values."""
    return {
        "out": str(out),
        "model": pairs.store.origin.model,
        "clip": pairs.target_origin.model,
        "aligner": type(aligner).__name__,
        "images": len(pairs.store),
        "components": len(pairs.store.components),
        "dimension": pairs.store.dimension,
        "clip_dimension": pairs.target.shape[1],
        "metrics": aligner.metrics_,
    }


def report(pairs: Pairs, job: Extraction, cache: Path, *, loading: Loading, seeds: int, stage: Stage) -> list[Judged]:
    """All aligners side by side: on the model, and on CLIP aligned with itself, where the answer is known."""
    words = vocabulary(pairs, cache)
    tables = [_judged(pairs, words, seeds, stage)]
    if pairs.subject.request.model != pairs.clip.request.model:
        request, whole = pairs.clip.request, replace(job, output="embedding", through=None)
        itself = gather(request, request, whole, cache, loading=loading, stage=stage)
        names = scene_texts() if words is None else words.labels
        tables.append(_judged(itself, _own_words(itself.clip, names, cache), seeds, stage))
    return tables


def _own_words(clip: Ready, labels: tuple[str, ...], cache: Path) -> Vocabulary:
    """Texts for CLIP as the model that is aligned: the same vectors in both spaces."""
    texts = ClipSpace(clip.loaded, cache=cache / "texts").encode_text(labels).cpu()
    return Vocabulary(labels, texts, texts)


def _judged(pairs: Pairs, words: Vocabulary | None, seeds: int, stage: Stage) -> Judged:
    same = pairs.store.origin == pairs.target_origin
    model, clip = pairs.store.origin.model, pairs.target_origin.model
    with stage(f"judging aligners of {model}") as progress:
        rows = judge(pairs.store, pairs.target, words=words, same_space=same, seeds=range(seeds), progress=progress)
    return Judged(model, clip, len(pairs.store), tuple(rows))
