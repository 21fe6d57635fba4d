"""A data set with groups, and how a linear head classifies it without a cue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from vitdecomp.errors import InputError, SpecError
from vitdecomp.extract import REPRESENTATION, ExtractConfig, cached
from vitdecomp.extract.grouped import GroupedSource, cached_grouped
from vitdecomp.extract.units import find_directions
from vitdecomp.models.image_loader import Loading
from vitdecomp.models.prepare import ModelOptions, PreparedModel, prepare
from vitdecomp.score import FeatureScorer
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.source import Source
from vitdecomp.units import AskedDirections
from vitdecomp_alignment.aligners.linear import LinearAligner
from vitdecomp_alignment.aligners.settings import make_aligner
from vitdecomp_alignment.cli.debias.deploying import check_out, deployed
from vitdecomp_alignment.cli.options import check_top
from vitdecomp_alignment.clip.maps import MapsToClip
from vitdecomp_alignment.clip.space import ClipSpace

WORLD = 2000  # images of each split, where no data set is given
SPURIOUS, CORE = "spurious", "core"


@dataclass(frozen=True, slots=True)
class DebiasConfig:
    """Say which cue is removed, and how.

    Attributes:
        spurious, core: words of the cue, and of what the class should be told by.
        maps: what `vitdecomp align` wrote. clip: a model with texts, to whose space maps are fitted without `maps`.
        align: the method of these maps.
        by: as for `ExtractConfig`.
        own_head: the model's classifier instead of a fitted head; its classes are matched by name.
        zero_shot: a text for each class in place of a fitted head, for a CLIP; averaged over templates.
        directions: into which components are split; then units are removed.
        center, measure: how they are scored, as for `FeatureScorer`.
        subspace: replace only what the spurious words see of the components.
        out: where the classifier without the cue is written, as a module; `Debiased.load` reads it.
        plan: the rest.
    """

    spurious: tuple[str, ...]
    core: tuple[str, ...]
    plan: Plan
    maps: Path | None = None
    clip: str | None = None
    align: str = "closed-form"
    by: str = "head"
    directions: AskedDirections | None = None
    center: str = "none"
    measure: str = "mean"
    own_head: bool = False
    zero_shot: tuple[str, ...] = ()
    subspace: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a cue without words, two heads, parts of units, and a module that could not be written."""
        if self.own_head and self.zero_shot:
            raise SpecError("give --own-head or --zero-shot, not both")
        if self.subspace and self.directions is not None:
            raise SpecError("give --subspace or --directions, not both: units are removed whole")
        check_out(self.out, self.plan)
        self.scorer().check()
        for name, words in ((SPURIOUS, self.spurious), (CORE, self.core)):
            if not words or not all(words):
                raise InputError(f"--{name} needs words, separated by commas")

    def scorer(self) -> FeatureScorer:
        """Make what ranks components."""
        return FeatureScorer(center=self.center, measure=self.measure, bootstrap=0, shuffles=0)


@dataclass(frozen=True, slots=True)
class DebiasResult:
    """Hold what was measured.

    Attributes:
        model, clip: their specs. train, test: the images. scores: spurious minus core score of every component.
        runs: the repetitions. skipped: names of images that cannot be read.
    """

    model: str
    clip: str
    train: Grouped
    test: Grouped
    scores: Mapping[Component, float]
    runs: tuple[Run, ...]
    skipped: tuple[str, ...] = ()

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
            "skipped": list(self.skipped),
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


def remove(
    options: ModelOptions,
    halves: Callable[[], tuple[Grouped, Grouped]],
    config: DebiasConfig,
    cache: Path,
    *,
    loading: Loading,
    stage: Stage,
    subject: PreparedModel | None = None,
) -> DebiasResult:
    """Rank a model's components by a cue, remove the first of them, and measure groups.

    Args:
        options: the model.
        halves: gives images to learn from, and images to measure groups on; called once the maps are there.
        config: which cue is removed, and how.
        cache: folder for what can be computed again.
        loading: how images are read.
        stage: shows what is being done.
        subject: the model, if it is loaded already.

    Raises:
        InputError: no images, a group without images, or maps of another model.
        SpecError: no such model, column or setting, or a model without texts and neither maps nor a CLIP.
        OutputError: the cache cannot be written.
    """
    maps = None if config.maps is None else MapsToClip.read(config.maps, clip=config.clip, model=options.model)
    images = halves()
    images[1].require_groups()
    with stage(f"contributions of {options.model}") as progress:
        subject = subject or prepare(options)
        check = None if config.directions else partial(check_top, config.plan.k)  # units are not known yet
        train, test = (
            cached_grouped(subject, half, cache, by=config.by, loading=loading, progress=progress, check=check)
            for half in images
        )
    test.images.require_groups()
    with stage("maps"):
        aligner, space = _mapped(maps, subject, train, config, options, cache, loading)
    directions = None
    if config.directions is not None:
        directions = find_directions(config.directions, train.store, lambda: subject)
        train, test, aligner = train.split(directions), test.split(directions), aligner and aligner.split(directions)
    cue = _cue(train.source, aligner, space, config, stage)
    plan = replace(config.plan, directions=cue.directions, aligner=aligner) if config.subspace else config.plan
    head = _given_head(subject, train.images, space, aligner, config)
    learned, judged = (Labelled(part.source, part.images.labels, part.images.groups) for part in (train, test))
    with stage("heads, controls and seeds") as progress:
        runs = debias(
            learned,
            judged,
            cue.ranking,
            plan,
            cue=cue.seen() if plan.k == "auto" else None,
            others={"core words": cue.ranking[::-1]},
            head=head,
            progress=progress,
        )
    if config.out is not None:
        with stage(f"writing {config.out.name}"):
            made = deployed(subject, config.by, train.source, train.images.labels, runs[0], plan, head, directions)
            made.save(config.out)
    skipped = (*train.skipped, *test.skipped)
    return DebiasResult(options.model, space.spec, train.images, test.images, cue.scores, tuple(runs), skipped)


@dataclass(frozen=True, slots=True)
class _Cue:
    """A cue in words, and what components carry of it.

    Attributes:
        source: contributions in the space of the texts. words: the embeddings of the cue's words, `(t, d)`.
        ranking: components by spurious minus core score, the highest first. scores: this difference.
    """

    source: Source
    words: Float[Tensor, "t d"]
    ranking: list[Component]
    scores: dict[Component, float]

    @property
    def directions(self) -> Float[Tensor, "t d"]:
        """The words without what they share, which says that there is an image."""
        return self.words - self.words.mean(0)

    def seen(self) -> Float64[np.ndarray, "n t"]:
        """Compute the inner products of every representation with the words."""
        return seen(self.source, self.words)


def _cue(source: Source, aligner: LinearAligner | None, space: ClipSpace, config: DebiasConfig, stage: Stage) -> _Cue:
    """Rank components by what they carry of the spurious words beyond the core words."""
    mapped: Source = source if aligner is None else Aligned(source, aligner)
    with stage(f"texts in {space.spec}"):
        texts = {
            name: space.encode_text(words).cpu() for name, words in ((SPURIOUS, config.spurious), (CORE, config.core))
        }
    with stage("scoring") as progress:
        scorer = config.scorer().fit(mapped, texts, progress=progress)
    scores = dict(zip(scorer.components_, (scorer.scores_[0] - scorer.scores_[1]).tolist(), strict=True))
    known = {*source.components}
    ranking = [component for component in scorer.contrast(SPURIOUS, CORE) if component in known]
    return _Cue(mapped, texts[SPURIOUS], ranking, scores)


def seen(source: Source, texts: Float[Tensor, "t d"]) -> Float64[np.ndarray, "n t"]:
    """Compute the inner products of every representation with texts, read a few images at a time."""
    parts = [source.take(range(i, min(i + 256, len(source)))).total() for i in range(0, len(source), 256)]
    found: Float64[np.ndarray, "n t"] = (torch.cat(parts) @ texts.to(parts[0]).T).double().numpy()
    return found


def _mapped(
    maps: MapsToClip | None,
    subject: PreparedModel,
    train: GroupedSource,
    config: DebiasConfig,
    options: ModelOptions,
    cache: Path,
    loading: Loading,
) -> tuple[LinearAligner | None, ClipSpace]:
    """Return the maps that are given, or fit some to the training images; none into the model's own space."""
    texts = cache / "texts"
    if maps is not None:
        maps.aligner.advise("added")
        return maps.aligner, maps.space(device=options.device, cache=texts)
    if config.clip is None or config.clip == options.model:
        if subject.loaded.encode_text is None:
            raise SpecError(f"{subject.loaded.spec} has no texts of its own: give --clip, or --maps made with `align`")
        return None, ClipSpace(subject.loaded, cache=texts)
    seer = prepare(ModelOptions(config.clip, device=options.device))
    job = ExtractConfig(train.images, REPRESENTATION)
    vectors = cached(seer, job, cache, loading=loading)
    target = torch.cat([batch.total() for batch in vectors.batches(256)])
    if len(target) != len(train.images):
        raise InputError(f"{config.clip} and {options.model} read different images: remove those that cannot be read")
    return make_aligner(config.align, options.seed).fit(train.source, target), ClipSpace(seer.loaded, cache=texts)


def _given_head(
    subject: PreparedModel, train: Grouped, space: ClipSpace, aligner: LinearAligner | None, config: DebiasConfig
) -> LinearHead | None:
    """Return the classifier that the user names, the model's own or one of texts; `None` if one is to be fitted."""
    if config.own_head:
        return _own_head(subject, train)
    if not config.zero_shot:
        return None
    if aligner is not None:
        raise SpecError("--zero-shot needs a model that reads texts itself, without --maps and --clip")
    if len(config.zero_shot) != len(train.classes):
        raise SpecError(f"--zero-shot needs a text for each class: {', '.join(train.classes)}")
    weight = space.zero_shot(config.zero_shot).weight.float().cpu()
    return LinearHead(weight, weight.new_zeros(len(weight)))


def _own_head(subject: PreparedModel, train: Grouped) -> LinearHead:
    """Return the model's own classifier, its rows in the order of the data set's classes."""
    known = subject.loaded.classifier
    if known is None:
        raise SpecError(f"{subject.loaded.spec} has no linear classifier: leave out --own-head, and one is fitted")
    return LinearHead.named(known.layer.weight, known.layer.bias, known.names, train.classes)
