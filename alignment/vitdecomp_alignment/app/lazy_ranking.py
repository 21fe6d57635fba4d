"""Components of features, which are scored only when a search asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from vitdecomp.component import Component
from vitdecomp.score import FeatureScorer


@dataclass(frozen=True, slots=True)
class LazyRanking:
    """A ranking as a retriever takes it.

    Attributes:
        features_: names. fit: scores all components, or returns the scores if that was done.
    """

    features_: Sequence[str]
    fit: Callable[[], FeatureScorer]

    def top(self, feature: str, k: int | Literal["auto"]) -> Sequence[Component]:
        """Return the components that stand for a feature most."""
        return self.fit().top(feature, k)
