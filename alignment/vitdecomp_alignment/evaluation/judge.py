"""Judging alignments: aligners side by side on images that they have not seen, with controls whose answer is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from vitdecomp._utils.progress import Progress
from vitdecomp.contributions import Contributions
from vitdecomp.errors import SpecError
from vitdecomp.sources.selection import select_images
from vitdecomp.sources.source import Source
from vitdecomp_alignment.aligners.closed_form import ClosedForm
from vitdecomp_alignment.aligners.compalign import CompAlign
from vitdecomp_alignment.aligners.linear import LinearAligner, check_target
from vitdecomp_alignment.aligners.linear_align import LinearAlign
from vitdecomp_alignment.aligners.penalty import deviation
from vitdecomp_alignment.evaluation.held_out import constant_distance, halves
from vitdecomp_alignment.evaluation.match import Match, Vocabulary, match_rate

Make = Callable[[int], LinearAligner]
METHODS: Mapping[str, Make] = MappingProxyType(
    {
        "one map": lambda seed: LinearAlign(random_state=seed),
        "lambda 0": lambda seed: CompAlign(orthogonality=0.0, random_state=seed),
        "CompAlign": lambda seed: CompAlign(random_state=seed),
        "closed form": lambda seed: ClosedForm(random_state=seed),
    }
)
HELD_OUT = 0.2  # of the images
LOOKED_AT = 512  # held-out images whose contributions are compared one by one
ROUNDING = 1e-9  # deviations below this


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one aligner reached with one seed.

    Attributes:
        method: its name. seed: of the aligner, and of which images are held out.
        distance: the mean of 1 - cosine between mapped totals and the other model's vectors, on images held out.
        constant: the same for one vector that is given for every image, the mean of those learned from.
        shuffled: the same as `distance` for maps fitted to the vectors of other images; not below `constant`, if
            nothing is learned from what is not there.
        orthogonality: the mean over components of min_k |W^T W / k - I|_F / sqrt(rank); 0 where angles are kept.
        match: whether components are described by the same words as in their own space, if a vocabulary was given.
        identity: the median over components of |mapped - own| / |own|, if both spaces are the same.
        seconds: that fitting took.
    """

    method: str
    seed: int
    distance: float
    constant: float
    shuffled: float
    orthogonality: float
    match: Match | None
    identity: float | None
    seconds: float


def judge(
    source: Source,
    target: Tensor,
    *,
    words: Vocabulary | None = None,
    same_space: bool = False,
    methods: Mapping[str, Make] = METHODS,
    seeds: Iterable[int] = (0, 1, 2),
    progress: Progress | None = None,
) -> list[Judgement]:
    """Fit every method with every seed, and measure it on a fifth of the images, which it has not seen.

    Args:
        source: contributions.
        target: the other model's vectors of the same images, `(n, d_clip)`.
        words: descriptions in both spaces.
        same_space: whether the model is aligned with itself, so that mapped contributions should be as they were.
        methods: aligners by their names, made from a seed.
        seeds: one judgement of every method for each.
        progress: called with the judgements done and their number.

    Raises:
        InputError: not of the same images, or too few.
        SpecError: no seed, or no method.
    """
    check_target(source, target)
    plan = [(name, make, seed) for seed in seeds for name, make in methods.items()]
    if not plan:
        raise SpecError("nothing to judge: give at least one seed and one method")
    found = []
    for name, make, seed in plan:
        found.append(_judgement(name, make, seed, source, target, words, same_space))
        if progress is not None:
            progress(len(found), len(plan))
    return found


def _judgement(
    name: str, make: Make, seed: int, source: Source, target: Tensor, words: Vocabulary | None, same_space: bool
) -> Judgement:
    places = halves(len(source), HELD_OUT, seed)
    learned, held_out = (select_images(source, rows) for rows in places)
    goal, truth = (target[list(rows)] for rows in places)
    began = time.perf_counter()
    aligner = make(seed).fit(learned, goal)
    seconds = time.perf_counter() - began
    c = held_out.take(range(min(len(held_out), LOOKED_AT)))
    aligned = aligner.transform(c)
    order = np.random.default_rng([seed, 3]).permutation(len(goal))
    return Judgement(
        method=name,
        seed=seed,
        distance=1 - aligner.score(held_out, truth),
        constant=constant_distance(goal, truth),
        shuffled=1 - make(seed).fit(learned, goal[order]).score(held_out, truth),
        orthogonality=deviation(aligner.maps_.within() or (aligner.maps_.shared[None],)),
        match=None if words is None else match_rate(c, aligned, words),
        identity=_identity(c, aligned) if same_space else None,
        seconds=seconds,
    )


def _identity(c: Contributions, aligned: Contributions) -> float:
    own = c.values.double()
    moved = aligned.values[:, : len(c.components)].double() - own
    lengths = own.flatten(2).norm(dim=(0, 2)).clamp(min=torch.finfo(torch.float32).tiny)
    return float((moved.norm(dim=(0, 2)) / lengths).median())


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation over seeds; the latter is 0 for one."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Those of some values."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0)

    def written(self, form: str) -> str:
        """Write the mean, and the deviation unless it is rounding; `form` is one such as `{:.1%}`."""
        mean = form.format(self.mean)
        return f"{mean} ±{form.format(self.deviation).rstrip('%')}" if self.deviation > ROUNDING else mean


def summarised(judgements: Sequence[Judgement]) -> dict[str, dict[str, Spread]]:
    """Mean and spread over the seeds of every figure, by method; what was not measured is left out."""
    methods = dict.fromkeys(judgement.method for judgement in judgements)
    return {method: _summed([j for j in judgements if j.method == method]) for method in methods}


def _summed(same: Sequence[Judgement]) -> dict[str, Spread]:
    rows = [_figures(judgement) for judgement in same]
    return {key: Spread.of([row[key] for row in rows]) for key in rows[0]}


def _figures(judgement: Judgement) -> dict[str, float]:
    figures = ("distance", "constant", "shuffled", "orthogonality", "identity", "seconds")
    found = {key: getattr(judgement, key) for key in figures if getattr(judgement, key) is not None}
    if judgement.match is not None:
        keys = ("exact", "approximate", "exact_chance", "approximate_chance")
        found |= {key: getattr(judgement.match, key) for key in keys}
    return found
