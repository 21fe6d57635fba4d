"""Match rate: whether a component is described by the same words before and after its alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError
from vitdecomp_alignment.textspan.greedy import Span
from vitdecomp_alignment.textspan.textspan import TextSpan

TOLD = 10  # descriptions of a component
LEAST = 1e-4  # of the variance: a text that explains less is chosen by rounding
NEAR = 0.05  # share of the pool that stands for the same, approximately
DRAWN = 200  # pairs of random lists, for what chance gives


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The same descriptions in the space of a model and in that of CLIP.

    Attributes:
        labels: their words.
        own: a vector for each in the model's space, such as its classifier's, `(pool, d)`.
        clip: CLIP's vectors of the words, `(pool, d_clip)`.
    """

    labels: tuple[str, ...]
    own: Float[Tensor, "pool d"]
    clip: Float[Tensor, "pool d_clip"]

    def __post_init__(self) -> None:
        """Refuse vectors of another number."""
        if not len(self.labels) == len(self.own) == len(self.clip) > 1:
            raise InputError(
                f"a vocabulary needs two descriptions or more, with a vector of each in both spaces: "
                f"{len(self.labels)} labels, {len(self.own)} and {len(self.clip)} vectors"
            )


@dataclass(frozen=True, slots=True)
class Match:
    """How many of a component's descriptions are the same in both spaces, from 0 to 1, and what chance gives.

    Attributes:
        exact: the share that occurs in both lists.
        approximate: the share of which the other list has one that is as near, in CLIP's space, as the nearest 5% of
            the vocabulary.
        exact_chance, approximate_chance: the same for lists drawn at random.
    """

    exact: float
    approximate: float
    exact_chance: float
    approximate_chance: float


def match_rate(c: Contributions, aligned: Contributions, words: Vocabulary, m: int = TOLD) -> Match:
    """Describe every component by TextSpan in its own space and in CLIP's, and compare the lists.

    This is a reading of Table 1 of arXiv 2406.01583. What all vectors of the vocabulary have in common is taken out of
    them first: a classifier's answer does not depend on it, and it tells nothing apart.

    Args:
        c: contributions in the model's own space. Components that do not vary are left out, and so are texts that
            explain next to nothing.
        aligned: the same in CLIP's space; what an aligner added is not looked at.
        words: the vocabulary.
        m: descriptions of each component.

    Raises:
        InputError: shapes do not fit, or no component varies.
    """
    m = min(m, len(words.labels))
    own, clip = _told_apart(words.own), _told_apart(words.clip)
    mapped = aligned.select({component.name for component in c.components})
    before, after = (TextSpan(m=m).fit(*given).spans_ for given in ((c, own), (mapped, clip)))
    pairs = [(a, b) for a, b in zip(_listed(before), _listed(after), strict=True) if a and b]
    if not pairs:
        raise InputError("no component's contributions vary along the vocabulary: nothing can be matched")
    near = _neighbours(clip)
    random = _random_pairs([(len(a), len(b)) for a, b in pairs], len(clip))
    return Match(_exact(pairs), _approximate(pairs, near), _exact(random), _approximate(random, near))


Lists = Sequence[tuple[Sequence[int], Sequence[int]]]


def _told_apart(vectors: Tensor) -> Tensor:
    """Subtract from unit vectors what all of them have in common."""
    return normalize(vectors - vectors.mean(0), dim=1)


def _listed(spans: Sequence[Span]) -> list[tuple[int, ...]]:
    return [span.indices[: int((span.explained >= LEAST).sum())] for span in spans]


def _neighbours(texts: Float[Tensor, "pool d"]) -> np.ndarray:
    """Return which texts stand for which, approximately: the nearest 5%, and each for itself."""
    k = max(2, round(NEAR * len(texts)))
    nearest = (texts @ texts.T).topk(k, dim=1).indices
    near = torch.eye(len(texts), dtype=torch.bool).scatter(1, nearest, True)
    return near.numpy()


def _exact(pairs: Lists) -> float:
    return float(np.mean([len({*a} & {*b}) / len(a) for a, b in pairs]))


def _approximate(pairs: Lists, near: np.ndarray) -> float:
    return float(np.mean([near[np.ix_(a, b)].any(1).mean() for a, b in pairs]))


def _random_pairs(sizes: Sequence[tuple[int, int]], pool: int) -> Lists:
    """Draw lists of the same lengths at random."""
    source = np.random.default_rng(0)
    picked = source.integers(len(sizes), size=DRAWN)
    return [
        (source.permutation(pool)[:a].tolist(), source.permutation(pool)[:b].tolist())
        for a, b in (sizes[i] for i in picked)
    ]
