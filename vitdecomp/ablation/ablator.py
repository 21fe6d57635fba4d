"""Ablator: components, or what a cue's texts see of them, replaced by something that does not know the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.estimator import Estimator
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.ablation.replacement import Replacement, make_replacement
from vitdecomp.ablation.subspace import find_bases
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.metrics.inputs import Labels, as_labels
from vitdecomp.provenance import Origin
from vitdecomp.sources.source import Source

Self = TypeVar("Self", bound="Ablator")
Wanted = str | Component | Iterable[str | Component]


class Ablator(Estimator):
    """Replaces the contributions of some components, so that the sum no longer knows what they told it.

    c' = c - (c - m) P, with m the replacement and P the projection onto what the directions see (all, without
    directions). Mean ablation: arXiv 2310.05916; of spurious cues: arXiv 2406.01583.

    Args:
        components: names, patterns or components; an empty list ablates nothing.
        value: `"zero"`, `"mean"` (over the images of `fit`), `"resample"` (another image's) or `"class-mean"`.
        directions: `(t, d)`, such as the vectors of a cue's texts: only what they see of a contribution is replaced.
        aligner: fitted to the contributions, if the directions are in its space and not in that of the contributions.
        random_state: which images are drawn for `"resample"`.

    Attributes:
        components_: the components that are replaced.
        replacement_: what they are replaced by.
        bases_: orthonormal columns `(k, d, r)` of what the directions see; `None` without directions.
        dimension_: length of a contribution.
        origin_: the model of the contributions, if it is known.
    """

    components_: tuple[Component, ...]
    replacement_: Replacement
    bases_: Float[Tensor, "k d r"] | None
    dimension_: int
    origin_: Origin | None

    def __init__(
        self,
        components: Wanted,
        *,
        value: str = "mean",
        directions: Tensor | None = None,
        aligner: object = None,
        random_state: int = 0,
    ) -> None:
        self.components, self.value = components, value
        self.directions, self.aligner = directions, aligner
        self.random_state = random_state

    def fit(self: Self, source: Source, labels: Labels | None = None) -> Self:
        """Learn what takes the place of the components, from images read a few at a time.

        Args:
            source: contributions in memory or on disk.
            labels: the class of every image, `(n,)` whole numbers, for `value="class-mean"`.

        Raises:
            SpecError: no such component or value, or an aligner without linear maps.
            InputError: no images, labels that do not fit them, or directions of another dimension.
        """
        n = len(source)
        if n == 0:
            raise InputError("no images to learn the replacement from")
        replacement = make_replacement(self.value)
        chosen = resolve(self.components, source.components)
        place = _places(source.components, chosen)
        known = None if labels is None else as_labels(labels, n)
        replacement.fit(lambda rows: source.take(rows).values[:, place], known, n, self.random_state)
        self.bases_ = None
        if self.directions is not None:
            self.bases_ = find_bases(self.directions, chosen, source.dimension, self.aligner)
        self.components_, self.replacement_, self.dimension_ = chosen, replacement, source.dimension
        self.origin_ = source.take([0]).origin
        return self

    def transform(
        self, c: Contributions, labels: Labels | None = None, *, rows: Sequence[int] | None = None
    ) -> Contributions:
        """Replace the components in the contributions; `.total()` is then the cleaned representation.

        Args:
            c: contributions that hold the components, of the model of `fit`.
            labels: the class of every image, for `value="class-mean"`.
            rows: numbers of the images, for `value="resample"`: with the same numbers they get the same
                replacement again. By default 0, 1, 2, ...

        Raises:
            InputError: contributions of another model, components or dimension; missing labels.
            SpecError: not fitted yet.
        """
        own, stand_in, place = self._both(c, labels, rows)
        values = c.values.clone()
        values[:, place] = stand_in if self.bases_ is None else own - self._seen(own - stand_in)
        return replace(c, values=values)

    def removed(
        self, c: Contributions, labels: Labels | None = None, *, rows: Sequence[int] | None = None
    ) -> Float[Tensor, "n k d"]:
        """Return what is taken from each of `components_`, (c - m) P; arguments and errors as for `transform`."""
        own, stand_in, _ = self._both(c, labels, rows)
        return self._seen(own - stand_in)

    def _both(
        self, c: Contributions, labels: Labels | None, rows: Sequence[int] | None
    ) -> tuple[Tensor, Tensor, list[int]]:
        """Return the components' contributions, what takes their place, and their indices."""
        place = self._check(c)
        known = None if labels is None else as_labels(labels, len(c))
        numbers = range(len(c)) if rows is None else rows
        if len(numbers) != len(c):
            raise InputError(f"rows: {len(numbers)} numbers for {len(c)} images")
        return c.values[:, place], self.replacement_(numbers, known).to(c.values), place

    def _seen(self, vectors: Float[Tensor, "n k d"]) -> Float[Tensor, "n k d"]:
        """Project on the directions; without directions, keep everything."""
        if self.bases_ is None:
            return vectors
        bases = self.bases_.to(vectors)
        return torch.einsum("nkr,kdr->nkd", torch.einsum("nkd,kdr->nkr", vectors, bases), bases)

    def _check(self, c: Contributions) -> list[int]:
        """Return where the components stand in the contributions."""
        if not hasattr(self, "components_"):
            raise SpecError("this Ablator is not fitted yet: call fit(contributions) first")
        if self.origin_ is not None:
            self.origin_.check(c.origin, "the ablation was fitted to")
        if c.dimension != self.dimension_:
            raise InputError(f"contributions of dimension {c.dimension}, but fit saw {self.dimension_}")
        return _places(c.components, self.components_)


def resolve(wanted: Wanted, known: tuple[Component, ...]) -> tuple[Component, ...]:
    """Return the components that are meant, in the order of the component axis.

    Raises:
        SpecError: a component, name or pattern that matches nothing.
    """
    asked = [wanted] if isinstance(wanted, (str, Component)) else list(wanted)
    found: set[Component] = set()
    for one in asked:
        name = str(one)
        matches = {c for c in known if c == one} if isinstance(one, Component) else {c for c in known if c.matches(one)}
        if not matches:
            raise SpecError(f"no component {name!r}{did_you_mean(name, [c.name for c in known])}")
        found |= matches
    return tuple(c for c in known if c in found)


def _places(known: tuple[Component, ...], wanted: tuple[Component, ...]) -> list[int]:
    place = {component: i for i, component in enumerate(known)}
    missing = [c.name for c in wanted if c not in place]
    if missing:
        raise InputError(f"the contributions lack {missing[0]}, which is to be replaced")
    return [place[c] for c in wanted]
