"""What `vitdecomp debias` does: a data set with groups, and what a linear head makes of it without a cue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vitdecomp._utils.progress import Stage
from vitdecomp.ablation import Labelled, LinearHead, Plan, Run, debias
from vitdecomp.ablation.debias import spread
from vitdecomp.component import Component
from vitdecomp.datasets.grouped import Grouped
from vitdecomp.datasets.grouped.formats import Columns, read
from vitdecomp.errors import InputError, SpecError
from vitdecomp.extract import REPRESENTATION, ExtractConfig, cached
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, PreparedModel, prepare
from vitdecomp.scenes.folder import kept
from vitdecomp.score import FeatureScorer
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.selection import Selection
from vitdecomp.sources.source import Source
from vitdecomp.store.store import Store
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.aligners.settings import make_aligner
from vitdecomp_alignment.cli.debias.deploying import check_out, deployed
from vitdecomp_alignment.clip.maps import MapsToClip
from vitdecomp_alignment.clip.space import ClipSpace

WORLD = 2000  # pictures of each split, where no data set is given
SPURIOUS, CORE = "spurious", "core"


@dataclass(frozen=True, slots=True)
class Task:
    """What cue is to be removed from what.

    Attributes:
        data: a folder or CSV that `vitdecomp.datasets.grouped` reads; the embedded world's waterbirds by default.
        spurious, core: words of the cue, and of what the class should be told by.
        columns, kind: as for `vitdecomp.datasets.grouped.read`.
        maps: what `vitdecomp align` wrote. clip: a model with texts, to whose space maps are fitted without `maps`.
        align: the method of these maps.
        by: as for `ExtractConfig`. limit: images of each split at most.
        own_head: the model's classifier instead of a fitted head; its classes are matched by name.
        subspace: replace only what the spurious words see of the components.
        out: where the classifier without the cue is written, as a module; `Debiased.load` reads it.
        plan: the rest.
    """

    spurious: tuple[str, ...]
    core: tuple[str, ...]
    plan: Plan
    data: Path | None = None
    columns: Columns = field(default_factory=Columns)
    kind: str | None = None
    maps: Path | None = None
    clip: str | None = None
    align: str = "closed-form"
    by: str = "head"
    limit: int | None = None
    own_head: bool = False
    subspace: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a cue without words, and a module that could not be written."""
        check_out(self.out, self.plan)
        for name, words in ((SPURIOUS, self.spurious), (CORE, self.core)):
            if not words or not all(words):
                raise InputError(f"--{name} needs words, separated by commas")


@dataclass(frozen=True, slots=True)
class Removal:
    """What came out.

    Attributes:
        model, clip: their specs. train, test: the images. scores: spurious minus core score of every component.
        runs: the repetitions.
    """

    model: str
    clip: str
    train: Grouped
    test: Grouped
    scores: Mapping[Component, float]
    runs: tuple[Run, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Worst and average accuracy before and after, and for each control: means over seeds, with their spread."""
        return summarised(self.runs)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        first = self.runs[0].components
        return {
            "model": self.model,
            "clip": self.clip,
            "images": {"train": len(self.train), "test": len(self.test)},
            "groups": list(self.test.group_names),
            "summary": self.rows(),
            "components": [{"component": c.name, "score": self.scores[c]} for c in first],
            "runs": [run.to_json() for run in self.runs],
        }


def summarised(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """For each representation its name, and worst and average accuracy as mean and standard deviation over seeds."""
    named: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        parts = {"before": (run.before,), "after": (run.after,), **run.controls}
        for name, found in parts.items():
            means = (float(np.mean([one.worst for one in found])), float(np.mean([one.average for one in found])))
            named.setdefault(name, []).append(means)
    return [
        {
            "representation": name,
            **{key: spread([pair[i] for pair in pairs]) for i, key in enumerate(("worst", "average"))},
        }
        for name, pairs in named.items()
    ]


def remove(options: ModelOptions, task: Task, cache: Path, *, loading: Loading, stage: Stage) -> Removal:
    """Rank a model's components by a cue, take the first of them away, and measure groups.

    Raises:
        InputError: no images, a group without images, or maps of another model.
        SpecError: no such model, column or setting, or a model without texts and neither maps nor a CLIP.
        OutputError: the cache cannot be written.
    """
    maps = None if task.maps is None else MapsToClip.read(task.maps, clip=task.clip, model=options.model)
    data = read(task.data or kept(cache, WORLD, "train", "test", subset="waterbirds"), task.columns, task.kind)
    train, test = data.halves(task.limit)
    test.require_groups()
    with stage(f"contributions of {options.model}") as progress:
        subject = prepare(options)
        both = _extracted(subject, (train, test), task.by, cache, loading=loading, progress=progress)
    stores = tuple(_rows(store, part) for store, part in zip(both, (train, test), strict=True))
    with stage("maps and texts"):
        if maps is None:
            aligner, space = _fitted(subject, stores[0], train, task, options, cache, loading)
        else:
            aligner, space = maps.aligner, maps.space(device=options.device, cache=cache / "texts")
        source: Source = stores[0] if aligner is None else Aligned(stores[0], aligner)
        texts = {name: space.encode_text(words).cpu() for name, words in _words(task).items()}
    with stage("scoring") as progress:
        scorer = FeatureScorer(bootstrap=0, shuffles=0).fit(source, texts, progress=progress)
    scores = dict(zip(scorer.components_, (scorer.scores_[0] - scorer.scores_[1]).tolist(), strict=True))
    known = {*stores[0].components}
    ranking = [c for c in scorer.contrast(SPURIOUS, CORE) if c in known]
    plan = task.plan
    if task.subspace:
        cue = texts[SPURIOUS] - texts[SPURIOUS].mean(0)  # what the words share says that there is a picture
        plan = replace(plan, directions=cue, aligner=aligner)
    head = _own_head(subject, train) if task.own_head else None
    with stage("heads, controls and seeds") as progress:
        runs = debias(
            Labelled(stores[0], train.labels, train.groups),
            Labelled(stores[1], test.labels, test.groups),
            ranking,
            plan,
            cue=seen(source, texts[SPURIOUS]) if plan.k == "auto" else None,
            others={"core words": ranking[::-1]},
            head=head,
            progress=progress,
        )
    if task.out is not None:
        with stage(f"writing {task.out.name}"):
            deployed(subject, task.by, stores[0], train.labels, runs[0], plan, head).save(task.out)
    return Removal(options.model, space.spec, train, test, scores, tuple(runs))


def seen(source: Source, texts: Float[Tensor, "t d"]) -> Float64[np.ndarray, "n t"]:
    """The inner products of every representation with texts, read a few images at a time."""
    parts = [source.take(range(i, min(i + 256, len(source)))).total() for i in range(0, len(source), 256)]
    found: Float64[np.ndarray, "n t"] = (torch.cat(parts) @ texts.to(parts[0]).T).double().numpy()
    return found


def _words(task: Task) -> dict[str, tuple[str, ...]]:
    return {SPURIOUS: task.spurious, CORE: task.core}


def _extracted(
    prepared: PreparedModel, parts: Sequence[Grouped], by: str, cache: Path, *, loading: Loading, progress: Any = None
) -> list[Store]:
    """Contributions to the images of several splits, each from its own folder of the cache."""
    jobs = [ExtractConfig(part, by) for part in parts]
    return [cached(prepared, job, cache, loading=loading, progress=progress) for job in jobs]


def _rows(store: Store, part: Grouped) -> Source:
    """The contributions to all images of a part; one that was skipped has none."""
    if len(store) != len(part):
        raise InputError(
            f"{len(part) - len(store)} of {len(part)} images in {part.root} cannot be read: take them out of the table"
        )
    return Selection(store, tuple(range(len(part))))


def _fitted(
    subject: PreparedModel,
    source: Source,
    train: Grouped,
    task: Task,
    options: ModelOptions,
    cache: Path,
    loading: Loading,
) -> tuple[LinearAligner | None, ClipSpace]:
    """Maps fitted to the training images, and the space that they lead to; no maps into the model's own space."""
    texts = cache / "texts"
    if task.clip is None or task.clip == options.model:
        if subject.loaded.encode_text is None:
            raise SpecError(f"{subject.loaded.spec} has no texts of its own: give --clip, or --maps made with `align`")
        return None, ClipSpace(subject.loaded, cache=texts)
    seer = prepare(ModelOptions(task.clip, device=options.device))
    job = ExtractConfig(train, REPRESENTATION)
    vectors = cached(seer, job, cache, loading=loading)
    target = torch.cat([batch.total() for batch in vectors.batches(256)])
    if len(target) != len(source):
        raise InputError(f"{task.clip} could not read the same images as {options.model}: take the broken ones out")
    return make_aligner(task.align, options.seed).fit(source, target), ClipSpace(seer.loaded, cache=texts)


def _own_head(subject: PreparedModel, train: Grouped) -> LinearHead:
    """The model's own classifier, its rows in the order of the data set's classes."""
    known = subject.loaded.classifier
    if known is None:
        raise SpecError(f"{subject.loaded.spec} has no linear classifier: leave out --own-head, and one is fitted")
    return LinearHead.named(known.layer.weight, known.layer.bias, known.names, train.classes)
