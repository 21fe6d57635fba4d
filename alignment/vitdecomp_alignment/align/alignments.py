"""What `vitdecomp align` does: from contributions and CLIP's vectors of the same images to fitted maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

from vitdecomp._utils.files import beside, check_file
from vitdecomp._utils.progress import Clock, Stage
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.errors import SpecError
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import PreparedModel, prepare
from vitdecomp.sources.selection import select_images
from vitdecomp_alignment.align.pairs import Pairing, Pairs, gather
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.clip.prompts import TEMPLATES
from vitdecomp_alignment.clip.space import ClipSpace
from vitdecomp_alignment.evaluation.held_out import FEWEST, HeldOut, measure, split_held_out
from vitdecomp_alignment.evaluation.judge import Judgement, judge, summarised
from vitdecomp_alignment.evaluation.match import Vocabulary
from vitdecomp_alignment.texts import scene_texts

HELD_OUT = "held_out_"  # prefix of figures on images that were not learned from


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


def training_file(out: Path) -> Path:
    """Return where a training that is not over yet is kept."""
    return beside(out, ".training")


def fit(pairs: Pairs, aligner: LinearAligner, out: Path, clock: Clock, ranks: Ranks) -> LinearAligner:
    """Fit an aligner to nine tenths of the images, judge it on the others, and save it.

    An interrupted training goes on from a file beside the result.

    Raises:
        OutputError: the file cannot be written.
        SpecError: the aligner does not know how to share the work.
        RankError: another process has ended.
    """
    check_file(out)
    checkpoint = training_file(out)
    takes: Any = aligner.fit
    n, known = len(pairs.store), signature(takes).parameters
    learned, held_out = split_held_out(n)
    source, target = select_images(pairs.store, learned), pairs.target[list(learned)]
    resumable: dict[str, Any] = {"checkpoint": checkpoint} if "checkpoint" in known else {}
    if ranks.world_size > 1 and "ranks" not in known:
        raise SpecError(f"{type(aligner).__name__} is fitted by one process alone: start it without torchrun")
    if "clock" in known:
        shared = {"ranks": ranks} if "ranks" in known else {}
        takes(source, target, clock=clock, **resumable, **shared)
    else:
        with clock("fitting maps") as progress:
            takes(source, target, progress=progress, **resumable)
    aligner.target_ = pairs.target_origin
    if not ranks.first:
        return aligner
    if held_out:
        with clock("measuring"):
            told = measure(aligner, pairs.store, pairs.target, learned, held_out)
        aligner.metrics_ = {
            **aligner.metrics_,
            **{HELD_OUT + name: float(value) for name, value in asdict(told).items()},
        }
    with clock("writing"):
        aligner.save(out)
        checkpoint.unlink(missing_ok=True)
    return aligner


def vocabulary(subject: PreparedModel, clip: PreparedModel, cache: Path) -> Vocabulary | None:
    """Pair the classifier's vectors with CLIP's of the classes' names. `None` without a classifier."""
    known = subject.loaded.classifier
    if known is None:
        return None
    names = tuple(name.split(",")[0] for name in known.names)
    texts = ClipSpace(clip.loaded, cache=cache / "texts").encode_text(names, templates=TEMPLATES)
    return Vocabulary(known.names, known.layer.weight.detach().float().cpu(), texts.cpu())


def summary(pairs: Pairs, pairing: Pairing, aligner: LinearAligner, out: Path) -> dict[str, Any]:
    """Sum up what was made in plain values."""
    return {
        "out": str(out),
        "model": pairs.store.origin.model,
        "clip": pairs.target_origin.model if pairs.target_origin else pairing.clip.model,
        "aligner": type(aligner).__name__,
        "images": len(pairs.store),
        "skipped": list(pairing.job.skipped(pairs.store)) if pairing.job is not None and pairing.store is None else [],
        "components": len(pairs.store.components),
        "dimension": pairs.store.dimension,
        "clip_dimension": pairs.target.shape[1],
        "metrics": aligner.metrics_,
        "verdict": verdict(aligner.metrics_),
        "shows": aligner.shows,
    }


def verdict(metrics: Mapping[str, float]) -> str:
    """Judge the maps in one sentence, by their figures on images held out."""
    keys = [HELD_OUT + field.name for field in fields(HeldOut)]
    if any(key not in metrics for key in keys):
        return f"There were too few images to judge the maps: {FEWEST} are needed."
    images, *distances = (metrics[key] for key in keys)
    return HeldOut(int(images), *distances).verdict


def report(pairs: Pairs, pairing: Pairing, *, loading: Loading, seeds: int, stage: Stage) -> list[Judged]:
    """Return all aligners side by side: on the model, and on CLIP aligned with itself, where the answer is known.

    Raises:
        SpecError: there are no images, which CLIP itself would have to be taken apart on.
    """
    job, cache, options = pairing.job, pairing.cache, pairing.clip
    if job is None:
        raise SpecError("--report needs --images beside --store")
    subject, clip = pairs.subject or prepare(pairing.subject), pairs.clip or prepare(options)
    words = vocabulary(subject, clip, cache)
    tables = [_judged(pairs, options.model, words, seeds, stage)]
    if pairing.subject.model != options.model:
        whole = Pairing(options, options, cache, replace(job, output="embedding", through=None))
        itself = gather(whole, loading=loading, stage=stage)
        names = scene_texts() if words is None else words.labels
        tables.append(_judged(itself, options.model, _own_words(clip, names, cache), seeds, stage))
    return tables


def _own_words(clip: PreparedModel, labels: tuple[str, ...], cache: Path) -> Vocabulary:
    """Texts for CLIP as the model that is aligned: the same vectors in both spaces."""
    texts = ClipSpace(clip.loaded, cache=cache / "texts").encode_text(labels).cpu()
    return Vocabulary(labels, texts, texts)


def _judged(pairs: Pairs, clip: str, words: Vocabulary | None, seeds: int, stage: Stage) -> Judged:
    same, model = pairs.store.origin == pairs.target_origin, pairs.store.origin.model
    with stage(f"judging aligners of {model}") as progress:
        rows = judge(pairs.store, pairs.target, words=words, same_space=same, seeds=range(seeds), progress=progress)
    return Judged(model, clip, len(pairs.store), tuple(rows))
