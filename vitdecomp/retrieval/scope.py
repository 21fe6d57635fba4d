"""Which components are looked at, and along which directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.component import Component
from vitdecomp.errors import InputError, SpecError
from vitdecomp.retrieval.space import Space

SUBSPACES = ("whole", "texts")
USUAL = 12  # components of a feature
FAINT = 1e-4  # a direction of texts weaker than this, relative to the strongest, is rounding


@runtime_checkable
class Ranking(Protocol):
    """Knows the components that stand for a feature, such as `FeatureScorer`."""

    @property
    def features_(self) -> Sequence[str]:
        """The names of the features."""
        ...

    def top(self, feature: str, k: int | Literal["auto"]) -> Sequence[Component]:
        """Return the k components that stand for a feature most, or as many as do."""
        ...


@dataclass(frozen=True, slots=True)
class Scope:
    """What of an image is compared.

    Attributes:
        feature: the feature that images should share; `None` is all that they show.
        components: names or patterns, instead of the components of the feature (or of all).
        without: features whose components are left out.
    """

    feature: str | None = None
    components: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """All features that are named."""
        return (*((self.feature,) if self.feature is not None else ()), *self.without)


@dataclass(frozen=True, slots=True, eq=False)
class Chooser:
    """Turns a scope into components and directions.

    Attributes:
        space: where images are compared. scorer: knows the components of features.
        texts: vectors of each feature's texts in the space, `(text, d)`.
        top, subspace: as for `Retriever`.
    """

    space: Space
    scorer: Ranking | None
    texts: Mapping[str, Float[Tensor, "_ d"]]
    top: int | Literal["auto"] | None
    subspace: str

    def components(self, scope: Scope) -> tuple[Component, ...]:
        """Return the components of a scope, in the order of the component axis.

        Raises:
            SpecError: no such feature or component, or a feature and no scorer.
            InputError: nothing is left.
        """
        if scope.components:
            chosen = set(self.space.named(scope.components))
        elif scope.feature is not None and not self._by_directions:
            chosen = self._of(scope.feature)
        else:
            chosen = set(self.space.components)
        for feature in scope.without:
            chosen -= self._of(feature)
        kept = tuple(c for c in self.space.components if c in chosen)
        if not any(self.space.added(c) is None for c in kept):
            raise InputError("no component is left to search by; choose others, or leave out fewer")
        return kept

    def directions(self, scope: Scope) -> Tensor | None:
        """Compute T of a `FeatureView`: with `subspace="texts"`, what the texts of a feature alone differ in.

        Raises:
            SpecError: a feature whose texts are not known.
        """
        if self.subspace == "whole" or not scope.features:
            return None
        against = [differences(self._texts(feature)) for feature in scope.without]
        kept = torch.eye(self.space.dimension, dtype=torch.float64)
        if against:
            avoided = basis(torch.cat(against, 1))
            kept = kept - avoided @ avoided.T
        return kept if scope.feature is None else basis(kept @ differences(self._texts(scope.feature)))

    def center(self, scope: Scope) -> Tensor | None:
        """Average the feature's texts, or the means of all features' texts; `None` if there are no texts."""
        own = None if scope.feature is None else self.texts.get(scope.feature)
        if own is not None:
            return own.mean(0)
        return torch.stack([t.mean(0) for t in self.texts.values()]).mean(0) if self.texts else None

    @property
    def _by_directions(self) -> bool:
        """Whether the directions alone tell what is of a feature."""
        return self.top is None and self.subspace == "texts"

    def _of(self, feature: str) -> set[Component]:
        if self.scorer is None:
            raise SpecError(f"feature {feature!r} needs a scorer that knows its components: Retriever(..., scorer=...)")
        known = list(self.scorer.features_)
        if feature not in known:
            raise SpecError(f"no feature {feature!r}{did_you_mean(feature, known)}")
        able = sum(not c.is_constant for c in self.space.components)
        found = set(self.scorer.top(feature, "auto" if self.top == "auto" else min(self.top or USUAL, able)))
        unknown = found - set(self.space.components)
        if unknown:
            raise InputError(f"the scorer is of another model: it names {min(unknown)}, which is not here")
        return found

    def _texts(self, feature: str) -> Tensor:
        if feature not in self.texts:
            raise SpecError(f"no texts of feature {feature!r}{did_you_mean(feature, list(self.texts))}")
        return self.texts[feature]


def differences(texts: Float[Tensor, "text d"]) -> Float[Tensor, "d text"]:
    """Return what distinguishes texts from their mean, as columns."""
    exact = texts.double()
    return (exact - exact.mean(0)).T


def basis(columns: Float[Tensor, "d k"]) -> Float[Tensor, "d m"]:
    """Orthonormal columns that span the same."""
    left, strength, _ = torch.linalg.svd(columns, full_matrices=False)
    kept: Tensor = left[:, strength > max(FAINT * float(strength.max()), 1e-12)]
    if not kept.shape[1]:
        raise InputError("the texts of a feature do not differ: give two at least that mean different things")
    return kept
