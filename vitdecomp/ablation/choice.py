"""How many components to take away, told by images on which the cue and the class disagree; no group is known.

A classifier that sees nothing of an image but the cue's words reads the class from them as well as the cue goes with
the class. The training images that it gets wrong, when it did not learn from them, are those where the cue points to
another class: the groups that suffer. They stand in for the groups (as the errors of a first model do in Liu et al.,
"Just Train Twice", arXiv 2107.09044). The number of components is the one with which the worst of these pseudo-groups
(class, whether the cue agrees) has the smallest mean loss, with heads that did not learn from the image in question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from vitdecomp.ablation.ablator import Ablator
from vitdecomp.ablation.effects import Effects, effects
from vitdecomp.ablation.linear_head import LinearHead, totals
from vitdecomp.component import Component
from vitdecomp.errors import InputError
from vitdecomp.sources.selection import Selection
from vitdecomp.sources.source import Source

FOLDS = 5
FEWEST = 2  # images on which cue and class disagree


def disagreeing(
    cue: Float64[np.ndarray, "n t"], labels: Int64[np.ndarray, " n"], seed: int = 0
) -> Bool[np.ndarray, " n"]:
    """Find the images whose class the cue alone does not tell.

    Args:
        cue: what the cue's directions see of every image.
        labels: the classes.
        seed: of the folds.

    Raises:
        InputError: too few images of a class, or none on which cue and class disagree.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    scale = cue.std(0)
    x = (cue - cue.mean(0)) / np.where(scale > 0, scale, 1.0)
    probe = LogisticRegression(max_iter=1000, class_weight="balanced")
    told: Any = cross_val_predict(probe, x, labels, cv=_folds(labels, seed))
    found: Bool[np.ndarray, " n"] = told != labels
    if found.sum() < FEWEST:
        raise InputError(
            f"cue and class disagree on {found.sum()} of {len(labels)} training images, fewer than {FEWEST}: too "
            "few to choose how many components to ablate; give --top N, or more images"
        )
    return found


def held_out(
    source: Source, labels: Int64[np.ndarray, " n"], ablator: Ablator, *, seed: int = 0, **settings: Any
) -> Effects:
    """Compute the effects on every image for a head fitted to other images; `settings` are those of the head."""
    classes = int(labels.max()) + 1
    whole = totals(source)
    places, parts = [], []
    for learn, judge in _folds(labels, seed).split(np.zeros(len(labels)), labels):
        head = LinearHead.fit(whole[learn], labels[learn], classes, **settings)
        parts += list(effects(Selection(source, tuple(judge.tolist())), ablator, head))
        places.append(judge)
    joined, back = Effects.joined(parts), np.argsort(np.concatenate(places))
    return Effects(joined.components, joined.logits[back], joined.removed[back])


def choose_k(
    found: Effects,
    ranking: Sequence[Component],
    labels: Int64[np.ndarray, " n"],
    disagree: Bool[np.ndarray, " n"],
) -> int:
    """Choose how many components of a ranking to take away so that the worst pseudo-group loses least."""
    losses = worst_losses(found, ranking, labels, disagree)
    return int(losses.argmin())


def worst_losses(
    found: Effects,
    ranking: Sequence[Component],
    labels: Int64[np.ndarray, " n"],
    disagree: Bool[np.ndarray, " n"],
) -> Float64[np.ndarray, " k"]:
    """Compute the mean logistic loss of the worst pseudo-group, for 0, 1, 2, ... components taken away.

    Margins are divided by their spread before anything is taken away, so that the scale of the logits is none of it.
    """
    place = {component: i for i, component in enumerate(found.components)}
    rows = [place[component] for component in ranking]
    steps = found.removed[:, rows].cumsum(1)
    margins = np.stack(
        [_margins(found.logits, labels), *(_margins(found.logits - steps[:, k], labels) for k in range(len(rows)))]
    )
    loss = np.logaddexp(0.0, -margins / max(float(margins[0].std()), 1e-300))
    group = 2 * labels + disagree
    means = np.stack([loss[:, group == g].mean(1) for g in np.unique(group)])
    worst: Float64[np.ndarray, " k"] = means.max(0)
    return worst


def _margins(logits: Tensor, labels: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """By how much the logit of the right class is above the best of the others."""
    table = logits.double().cpu().numpy().copy()
    rows = np.arange(len(labels))
    own = table[rows, labels]
    table[rows, labels] = -np.inf
    found: Float64[np.ndarray, " n"] = own - table.max(1)
    return found


def _folds(labels: Int64[np.ndarray, " n"], seed: int) -> Any:
    from sklearn.model_selection import StratifiedKFold

    fewest = int(np.bincount(labels)[np.unique(labels)].min())
    if fewest < 2:
        raise InputError("--k auto needs two training images of every class at least")
    return StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
