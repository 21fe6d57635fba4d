"""What `vitdecomp align` does: from contributions and CLIP's vectors of the same images to fitted maps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

from vitdecomp.aligner import aligners
from vitdecomp.errors import SpecError
from vitdecomp.files import check_file
from vitdecomp.loading import Loading
from vitdecomp.prepare import Ready, prepare
from vitdecomp.progress import Clock, Stage
from vitdecomp.ranks import Ranks
from vitdecomp.registry import did_you_mean
from vitdecomp_alignment.clip_space import ClipSpace
from vitdecomp_alignment.judge import Judgement, judge, summarised
from vitdecomp_alignment.linear import LinearAligner
from vitdecomp_alignment.match import Vocabulary
from vitdecomp_alignment.pairs import Pairing, Pairs, gather
from vitdecomp_alignment.prompts import TEMPLATES
from vitdecomp_alignment.texts import scene_texts

MEASURED = 4096  # images
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}


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


def make_aligner(method: str, seed: int, settings: Sequence[str] = ()) -> LinearAligner:
    """An aligner by its name, with some of its arguments as `NAME=VALUE`.

    Raises:
        SpecError: there is none, or it has no maps that could be saved, or no such argument.
    """
    known = aligners()
    name = method.replace("_", "-")
    if name not in known:
        raise SpecError(f"no aligner {method!r}{did_you_mean(name, list(known))}")
    aligner = known[name]
    if not issubclass(aligner, LinearAligner):
        raise SpecError(f"{method} is no linear aligner: use it in Python")
    made = aligner()
    kinds = get_type_hints(aligner.__init__)
    takes = {argument: kinds.get(argument, Any) for argument in made.get_params()}
    made.set_params(random_state=seed, **dict(_setting(text, takes) for text in settings))
    return made


def _setting(text: str, known: Mapping[str, Any]) -> tuple[str, Any]:
    """An argument of a known type and its value: a number, true, false or null as in JSON, or a word."""
    name, given, word = text.partition("=")
    if not given or name not in known:
        raise SpecError(f"--set takes NAME=VALUE, not {text!r}{did_you_mean(name, list(known))}")
    value: Any = word
    with suppress(ValueError):
        value = json.loads(word)
    kinds = get_args(known[name]) or (known[name],)
    if not any(kind is Any or type(value) is kind or (kind, type(value)) == (float, int) for kind in kinds):
        wanted = " or ".join(KINDS[kind] for kind in kinds if kind in KINDS)
        raise SpecError(f"--set {name} takes {wanted}, not {word!r}")
    return name, value


def training_file(out: Path) -> Path:
    """Where a training that is not over yet is kept."""
    return out.with_name(f"{out.name}.training")


def fit(pairs: Pairs, aligner: LinearAligner, out: Path, clock: Clock, ranks: Ranks) -> LinearAligner:
    """Fit an aligner and save it; an interrupted training goes on from a file beside the result.

    Raises:
        OutputError: the file cannot be written.
        SpecError: the aligner does not know how to share the work.
        RankError: another process is gone.
    """
    check_file(out)
    checkpoint = training_file(out)
    takes: Any = aligner.fit
    known, store, target = signature(takes).parameters, pairs.store, pairs.target
    resumable: dict[str, Any] = {"checkpoint": checkpoint} if "checkpoint" in known else {}
    if ranks.count > 1 and "ranks" not in known:
        raise SpecError(f"{type(aligner).__name__} is fitted by one process alone: start it without torchrun")
    if "clock" in known:
        shared = {"ranks": ranks} if "ranks" in known else {}
        takes(store, target, clock=clock, **resumable, **shared)
    else:
        with clock("fitting maps") as progress:
            takes(store, target, progress=progress, **resumable)
    aligner.target_ = pairs.target_origin
    if not ranks.first:
        return aligner
    with clock("measuring"):
        aligner.metrics_ = {**aligner.metrics_, "cosine": aligner.score(store, target, most=MEASURED)}
    with clock("writing"):
        aligner.save(out)
        checkpoint.unlink(missing_ok=True)
    return aligner


def vocabulary(subject: Ready, clip: Ready, cache: Path) -> Vocabulary | None:
    """The classes of the model: its classifier's vectors, and CLIP's of their names. `None` without a classifier."""
    known = subject.loaded.classifier
    if known is None:
        return None
    names = tuple(name.split(",")[0] for name in known.names)
    texts = ClipSpace(clip.loaded, cache=cache / "texts").encode_text(names, templates=TEMPLATES)
    return Vocabulary(known.names, known.layer.weight.detach().float().cpu(), texts.cpu())


def summary(pairs: Pairs, clip: str, aligner: LinearAligner, out: Path) -> dict[str, Any]:
    """What was made, in plain values."""
    return {
        "out": str(out),
        "model": pairs.store.origin.model,
        "clip": pairs.target_origin.model if pairs.target_origin else clip,
        "aligner": type(aligner).__name__,
        "images": len(pairs.store),
        "components": len(pairs.store.components),
        "dimension": pairs.store.dimension,
        "clip_dimension": pairs.target.shape[1],
        "metrics": aligner.metrics_,
    }


def report(pairs: Pairs, pairing: Pairing, *, loading: Loading, seeds: int, stage: Stage) -> list[Judged]:
    """All aligners side by side: on the model, and on CLIP aligned with itself, where the answer is known.

    Raises:
        SpecError: there are no images, which CLIP itself would have to be taken apart on.
    """
    job, cache, request = pairing.job, pairing.cache, pairing.clip
    if job is None:
        raise SpecError("--report needs --images beside --store")
    subject, clip = pairs.subject or prepare(pairing.subject), pairs.clip or prepare(request)
    words = vocabulary(subject, clip, cache)
    tables = [_judged(pairs, request.model, words, seeds, stage)]
    if pairing.subject.model != request.model:
        whole = Pairing(request, request, cache, replace(job, output="embedding", through=None))
        itself = gather(whole, loading=loading, stage=stage)
        names = scene_texts() if words is None else words.labels
        tables.append(_judged(itself, request.model, _own_words(clip, names, cache), seeds, stage))
    return tables


def _own_words(clip: Ready, labels: tuple[str, ...], cache: Path) -> Vocabulary:
    """Texts for CLIP as the model that is aligned: the same vectors in both spaces."""
    texts = ClipSpace(clip.loaded, cache=cache / "texts").encode_text(labels).cpu()
    return Vocabulary(labels, texts, texts)


def _judged(pairs: Pairs, clip: str, words: Vocabulary | None, seeds: int, stage: Stage) -> Judged:
    same, model = pairs.store.origin == pairs.target_origin, pairs.store.origin.model
    with stage(f"judging aligners of {model}") as progress:
        rows = judge(pairs.store, pairs.target, words=words, same_space=same, seeds=range(seeds), progress=progress)
    return Judged(model, clip, len(pairs.store), tuple(rows))
