"""Which components stand for a feature, and how many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from vitdecomp._utils.summary import Brief
from vitdecomp.score.agreement import Agreement, cross_validated
from vitdecomp.score.directions import check_choice


@dataclass(frozen=True, slots=True, repr=False)
class Choice(Brief):
    """What a choice is made from.

    Attributes:
        scores: of all images, `(feature, component)`. outside: of the images that are not in the sample.
        sample: contributions to some images, in coordinates of what all texts span, `(n, component, r)`.
        rows: the directions of every feature, `(k, r)`.
        able: places of the components that may be chosen.
    """

    scores: Float64[np.ndarray, "feature component"]
    outside: Float64[np.ndarray, "feature component"]
    sample: Float[Tensor, "n component r"]
    rows: tuple[Float64[Tensor, "_ r"], ...]
    able: tuple[int, ...]

    def by_margin(self, feature: int, k: int | None) -> list[int]:
        """Those with the largest margins; without k, as many as agree best on images that did not rank them."""
        if k is None:
            order = self._ordered(feature, self.outside)
            k = cross_validated(Agreement(self.sample.double(), self.rows[feature]).curve(order))
        return self._ordered(feature, self.scores)[:k]

    def by_agreement(self, feature: int, k: int | None) -> list[int]:
        """Those whose sum agrees most, one after another; without k, as many as agree best on other images."""
        x, rows = self.sample.double(), self.rows[feature]
        if k is None:
            order = Agreement(x[::2], rows).greedy(self.able)
            k = cross_validated(Agreement(x[1::2], rows).curve(order)) if order else 1
        return Agreement(x, rows).greedy(self.able, k)

    def _ordered(self, feature: int, scores: Float64[np.ndarray, "feature component"]) -> list[int]:
        able = np.array(self.able)
        return able[np.argsort(-margins(scores)[feature, able], kind="stable")].tolist()  # type: ignore[no-any-return]


def margins(scores: Float64[np.ndarray, "feature component"]) -> Float64[np.ndarray, "feature component"]:
    """By how much a component scores higher for a feature than for any other; the score itself if there is no other."""
    if len(scores) == 1:
        return scores.copy()
    best, second = -np.sort(-scores, axis=0)[:2]
    first = scores.argmax(0)
    own = np.arange(len(scores))[:, None] == first
    found: Float64[np.ndarray, "feature component"] = scores - np.where(own, second, best)
    return found


def check_way(by: str) -> None:
    """Raise `SpecError` for a way of choosing that nobody knows."""
    check_choice("by", by, WAYS)


WAYS: Mapping[str, Callable[[Choice, int, int | None], list[int]]] = MappingProxyType(
    {"margin": Choice.by_margin, "agreement": Choice.by_agreement}
)
