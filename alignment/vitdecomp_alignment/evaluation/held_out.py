"""How near maps come on images that they were not learned from, beside two controls, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from vitdecomp.sources.selection import select_images
from vitdecomp.sources.source import Source
from vitdecomp_alignment.aligners.linear import LinearAligner

SHARE, LEAST, MOST = 0.1, 2, 4096  # held out: of all images, at least, and at most
FEWEST = 10  # images in all of which some are held out
# What is gained over one vector for all images, from which on a judgement holds.
VERDICTS = (
    (0.5, "The maps are fit to compare components with texts"),
    (0.1, "The maps are weak: learn from more images, or take what texts say of single components as hints"),
    (-np.inf, "The maps know next to nothing of single images: do not name or score components with them"),
)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Distances, the mean of 1 - cosine, between mapped totals and the other model's vectors.

    Attributes:
        images: how many were held out.
        distance: of each image's total to its own vector.
        constant: of one vector for every image, the mean of those learned from, to the images' own.
        shuffled: of each image's total to the vector of another image.
    """

    images: int
    distance: float
    constant: float
    shuffled: float

    @property
    def gain(self) -> float:
        """How much of the distance of one vector for all images the maps take away, at most 1."""
        return 1 - self.distance / max(self.constant, 1e-12)

    @property
    def verdict(self) -> str:
        """What the figures are worth, in one sentence."""
        said = next(words for least, words in VERDICTS if self.gain >= least)
        return (
            f"{said} (they take away {max(self.gain, 0.0):.0%} of the distance that one vector for all images leaves)."
        )


def halves(
    n: int, held_out: float, seed: int, *, least: int = 1, most: int | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Split the indices of n images at random into those to learn from and those held out, each in order."""
    order, k = np.random.default_rng([seed, 2]).permutation(n), max(least, round(n * held_out))
    k = k if most is None else min(k, most)
    return tuple(np.sort(order[k:]).tolist()), tuple(np.sort(order[:k]).tolist())


def split_held_out(n: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Split the indices of n images into those to fit maps to and those to judge them on, if there are `FEWEST`."""
    return halves(n, SHARE, 0, least=LEAST, most=MOST) if n >= FEWEST else (tuple(range(n)), ())


def measure(
    aligner: LinearAligner, source: Source, target: Tensor, learned: tuple[int, ...], held_out: tuple[int, ...]
) -> HeldOut:
    """Judge fitted maps on images held out.

    Args:
        aligner: fitted to the images learned from, and to no others.
        source: contributions of all images.
        target: the other model's vectors of them, `(n, d_clip)`.
        learned: places of the images learned from.
        held_out: places of those to judge on, two or more.
    """
    tested, truth = select_images(source, held_out), target[list(held_out)]
    order = np.random.default_rng(0).permutation(len(held_out))
    others = truth.clone()
    others[order] = truth[np.roll(order, 1)]  # one cycle through all: nobody keeps its own
    return HeldOut(
        images=len(held_out),
        distance=1 - aligner.score(tested, truth),
        constant=constant_distance(target[list(learned)], truth),
        shuffled=1 - aligner.score(tested, others),
    )


def constant_distance(goal: Float[Tensor, "n d_clip"], truth: Float[Tensor, "m d_clip"]) -> float:
    """Compute the distance of the mean direction of some vectors from others."""
    mean = normalize(goal.double(), dim=1).mean(0, keepdim=True)
    return 1 - float(cosine_similarity(mean, truth.double(), dim=1).mean())
