"""The experiment of cue removal: accuracies of groups before and after, with controls and repetitions.

References:
    Waterbirds, worst-group accuracy: Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts",
    arXiv 1911.08731. Removal by ablation of ranked components: arXiv 2406.01583, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vitdecomp._utils.progress import Progress
from vitdecomp.ablation.ablator import Ablator
from vitdecomp.ablation.accuracy import GroupAccuracy
from vitdecomp.ablation.choice import choose_k, disagreeing, held_out
from vitdecomp.ablation.effects import Effects, effects
from vitdecomp.ablation.linear_head import LinearHead, batches, totals
from vitdecomp.component import Component
from vitdecomp.errors import InputError, SpecError
from vitdecomp.sources.selection import Selection
from vitdecomp.sources.source import Source

Count = int | Literal["auto"]
CONSTANT = ("zero", "mean", "resample")
ELSEWHERE = 3  # draws of random directions


@dataclass(frozen=True, slots=True)
class Labelled:
    """Contributions with what is known of the images.

    Attributes:
        source: the contributions. labels: classes, `(n,)`, from 0. groups: `(n,)`; not used of training images.
    """

    source: Source
    labels: Int64[np.ndarray, " n"]
    groups: Int64[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How the experiment goes.

    Attributes:
        k: components to take away; `"auto"` chooses with `vitdecomp.ablation.choice`.
        value: what replaces them, as for `Ablator`.
        directions, aligner: as for `Ablator`; with them only what the cue's texts see is replaced.
        share: of the training images that a head learns from, drawn again for each seed.
        strength, balanced: of the head, as for `LinearHead.fit`.
        refit: whether the head learns again from cleaned representations; the paper's does not.
        seeds: repetitions. draws: random choices of components that each of them is compared with.
    """

    k: Count = 10
    value: str = "mean"
    directions: Tensor | None = None
    aligner: object = None
    share: float = 0.8
    strength: float = 1.0
    balanced: bool = False
    refit: bool = False
    seeds: int = 3
    draws: int = 10

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.value not in CONSTANT:
            raise SpecError(f"value={self.value!r}: choose {', '.join(CONSTANT)} (class means would need the classes)")
        if not 0 < self.share <= 1:
            raise SpecError(f"the share of training images must be above 0 and at most 1, not {self.share}")
        if self.strength <= 0 or self.seeds < 1 or self.draws < 1:
            raise SpecError("strength must be positive, and seeds and draws 1 or more")


@dataclass(frozen=True, slots=True)
class Run:
    """One repetition.

    Attributes:
        seed: which. components: what was taken away.
        before, after: accuracies on the test images.
        controls: the same with other components: one for each random choice, and for each other ranking; and, if only
            directions are replaced, with random directions of the same components.
    """

    seed: int
    components: tuple[Component, ...]
    before: GroupAccuracy
    after: GroupAccuracy
    controls: Mapping[str, tuple[GroupAccuracy, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "seed": self.seed,
            "k": len(self.components),
            "components": [component.name for component in self.components],
            "before": _plain(self.before),
            "after": _plain(self.after),
            "controls": {name: [_plain(one) for one in found] for name, found in self.controls.items()},
        }


def debias(  # noqa: PLR0913 - one argument per part of the experiment
    train: Labelled,
    test: Labelled,
    ranking: Sequence[Component],
    plan: Plan,
    *,
    pool: Source | None = None,
    cue: Float64[np.ndarray, "n t"] | None = None,
    others: Mapping[str, Sequence[Component]] | None = None,
    head: LinearHead | None = None,
    progress: Progress | None = None,
) -> list[Run]:
    """Take away the first components of a ranking, and see what a linear head makes of the rest.

    Args:
        train: what the head and the replacement learn from.
        test: what all accuracies are of.
        ranking: the components that carry the cue most come first; constants are passed over.
        plan: how.
        pool: images without labels that the replacement learns from; by default those of `train`.
        cue: what the cue's texts see of the training images, for `k="auto"`.
        others: further rankings to compare with, such as one of another feature.
        head: a classifier that is there already; by default one is fitted to each seed's share.
        progress: called with the repetitions done and their number.

    Raises:
        InputError: fewer components than k, or too few images.
    """
    ranked = [component for component in ranking if not component.is_constant]
    if plan.k != "auto" and not 1 <= plan.k <= len(ranked):
        raise InputError(f"k = {plan.k}, but there are {len(ranked)} components: give 1 to {len(ranked)}, or auto")
    ablators = _ablators(ranked, plan, train.source if pool is None else pool)
    runs = []
    for seed in range(plan.seeds):
        rows = np.arange(len(train.labels)) if head is not None else _drawn(train.labels, plan.share, seed)
        mine = Selection(train.source, tuple(rows.tolist()))
        labels = train.labels[rows]
        k = plan.k
        if k == "auto":
            k = _auto(mine, labels, ablators[0], ranked, plan, None if cue is None else cue[rows], head, seed)
        trial = _Trial(mine, labels, test, ablators, plan, head)
        runs.append(trial.run(seed, ranked, k, others or {}))
        if progress is not None:
            progress(seed + 1, plan.seeds)
    return runs


def _ablators(components: Sequence[Component], plan: Plan, pool: Source) -> tuple[Ablator, ...]:
    """Make what replaces the components, and, if only directions are replaced, the same with random directions."""

    def fitted(directions: Tensor | None) -> Ablator:
        made = Ablator(list(components), value=plan.value, directions=directions, aligner=plan.aligner, random_state=0)
        return made.fit(pool)

    if plan.directions is None:
        return (fitted(None),)
    source = torch.Generator().manual_seed(0)
    drawn = [torch.randn(plan.directions.shape, generator=source, dtype=torch.float64) for _ in range(ELSEWHERE)]
    return tuple(fitted(directions) for directions in (plan.directions, *drawn))


@dataclass(frozen=True)
class _Trial:
    """One repetition: the images that a head learns from, and the test."""

    train: Source
    labels: Int64[np.ndarray, " n"]
    test: Labelled
    ablators: tuple[Ablator, ...]
    plan: Plan
    given: LinearHead | None

    def run(self, seed: int, ranked: Sequence[Component], k: int, others: Mapping[str, Sequence[Component]]) -> Run:
        head = self._fit(totals(self.train)) if self.given is None else self.given
        found, *elsewhere = (Effects.joined(list(effects(self.test.source, one, head))) for one in self.ablators)

        def judged(logits: Tensor) -> GroupAccuracy:
            return GroupAccuracy.of(logits, self.test.labels, self.test.groups)

        def without(components: Sequence[Component]) -> GroupAccuracy:
            return judged(self._refitted(components) if self.plan.refit else found.without(components))

        source = np.random.default_rng([seed, 1])
        drawn = [source.choice(len(ranked), k, replace=False).tolist() for _ in range(self.plan.draws)]
        controls = {"random": tuple(without([ranked[i] for i in places]) for places in drawn)}
        for name, ranking in others.items():
            controls[name] = (without([c for c in ranking if not c.is_constant][:k]),)
        if elsewhere:
            controls["random directions"] = tuple(judged(one.without(ranked[:k])) for one in elsewhere)
        return Run(seed, tuple(ranked[:k]), without([]), without(ranked[:k]), controls)

    def _fit(self, representations: Tensor) -> LinearHead:
        classes = int(max(self.labels.max(), self.test.labels.max())) + 1
        plan = self.plan
        return LinearHead.fit(representations, self.labels, classes, strength=plan.strength, balanced=plan.balanced)

    def _refitted(self, components: Sequence[Component]) -> Tensor:
        """Logits of a head that never saw what is taken away."""
        head = self._fit(cleaned(self.train, self.ablators[0], components))
        return head(cleaned(self.test.source, self.ablators[0], components))


def _auto(
    source: Source,
    labels: Int64[np.ndarray, " n"],
    ablator: Ablator,
    ranked: Sequence[Component],
    plan: Plan,
    cue: Float64[np.ndarray, "n t"] | None,
    head: LinearHead | None,
    seed: int,
) -> int:
    if cue is None:
        raise InputError("k='auto' needs cue=: inner products of the cue's texts with every training image")
    disagree = disagreeing(cue, labels, seed)
    if head is not None:
        found = Effects.joined(list(effects(source, ablator, head)))
    else:
        found = held_out(source, labels, ablator, seed=seed, strength=plan.strength, balanced=plan.balanced)
    return choose_k(found, ranked, labels, disagree)


def cleaned(source: Source, ablator: Ablator, components: Sequence[Component]) -> Tensor:
    """Representations without some of the ablator's components."""
    place = {component: i for i, component in enumerate(ablator.components_)}
    chosen = [place[component] for component in components]
    parts = []
    for rows in batches(len(source)):
        c = source.take(rows)
        parts.append(c.total() - ablator.removed(c, rows=rows)[:, chosen].sum(1))
    return torch.cat(parts)


def _drawn(labels: Int64[np.ndarray, " n"], share: float, seed: int) -> Int64[np.ndarray, " m"]:
    """Draw a share of the images of every class."""
    source = np.random.default_rng([seed, 0])
    kept = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        kept.append(source.permutation(rows)[: max(2, round(share * len(rows)))])
    return np.sort(np.concatenate(kept))


def _plain(found: GroupAccuracy) -> dict[str, Any]:
    return {**asdict(found), "worst": found.worst}


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation."""
    return float(np.mean(values)), float(np.std(values))
