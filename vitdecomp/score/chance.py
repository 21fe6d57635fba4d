"""What scores texts would have that were dealt out to the features at random."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vitdecomp.score.directions import Directions
from vitdecomp.score.measures import Score
from vitdecomp.score.sums import Sums

ROUNDING = 1e-12  # by which the scores of the same texts in another order may differ


def dealt(directions: Directions, shuffles: int, seed: int) -> Iterator[dict[str, Float64[Tensor, "_ r"]]]:
    """Shuffle the texts of all features and the controls, and deal each feature its number of them."""
    source, texts = np.random.default_rng([seed, 4]), directions.everything
    for _ in range(shuffles):
        order, start = source.permutation(len(texts)), 0
        hands = {}
        for name, words in directions.words.items():
            hands[name] = texts[torch.from_numpy(order[start : start + len(words)])]
            start += len(words)
        yield hands


def against_chance(
    scores: Float64[np.ndarray, "feature component"],
    score: Score,
    sums: Sums,
    *,
    directions: Directions,
    shuffles: int,
    seed: int,
) -> tuple[Float64[np.ndarray, "feature component"], Float64[np.ndarray, "feature component"]]:
    """Compare with the scores of shuffled texts: their mean, and the p value (1 + times no smaller) / (1 + shuffles).

    NaN without shuffles, and for a feature beside which there are no other texts.
    """
    total, times = np.zeros_like(scores), np.ones_like(scores)
    for hands in dealt(directions, shuffles, seed):
        drawn = np.stack([score.of(sums, directions.rows(words)) for words in hands.values()])
        total += drawn
        times += drawn >= scores - ROUNDING
    alone = np.array([len(words) == len(directions.everything) for words in directions.words.values()])
    untold = alone[:, None] | (shuffles == 0)
    return np.where(untold, np.nan, total / max(shuffles, 1)), np.where(untold, np.nan, times / (1 + shuffles))
