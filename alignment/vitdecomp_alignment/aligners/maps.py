"""Linear maps of all components of a model, kept no larger than what the components span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.summary import Brief
from vitdecomp.component import CONSTANT_KIND, Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.units.directions import Directions

BIAS = Component("bias.alignment", CONSTANT_KIND)


@dataclass(frozen=True, slots=True, repr=False)
class Span(Brief):
    """Components whose contributions lie in subspaces of the same dimension.

    Attributes:
        rows: their places on the component axis, `(k,)`.
        basis: orthonormal columns, `(k, d, r)`; `None` where they fill the whole space, and r is d.
    """

    rows: Int64[Tensor, " k"]
    basis: Float[Tensor, "k d r"] | None = None

    def coordinates(self, values: Float[Tensor, "n component d"]) -> Float[Tensor, "n k r"]:
        """Contributions in their own coordinates."""
        own = values[:, self.rows]
        return own if self.basis is None else torch.einsum("nkd,kdr->nkr", own, self.basis)

    def restrict(self, shared: Float[Tensor, "d d_clip"]) -> Float[Tensor, "k r d_clip"]:
        """Return what a map of the space does to each subspace."""
        return shared.repeat(len(self.rows), 1, 1) if self.basis is None else self.basis.mT @ shared

    def expand(self, maps: Float[Tensor, "k r d_clip"]) -> Float[Tensor, "k d d_clip"]:
        """Return maps of the subspaces as maps of the space, zero outside."""
        return maps if self.basis is None else self.basis @ maps


@dataclass(frozen=True, slots=True, repr=False)
class LinearMaps(Brief):
    """One linear map for each component: W_i = shared + basis_i correction_i.

    A correction is as large as what its component spans: a head of width 64 never leaves 64 dimensions.

    Attributes:
        components: the component axis.
        shared: a map that all components have in common, `(d, d_clip)`.
        spans: subspaces, which hold every component once at most.
        corrections: what is added on each of them, `(k, r, d_clip)`.
        bias: added once to the sum, `(d_clip,)`.
    """

    components: tuple[Component, ...]
    shared: Float[Tensor, "d d_clip"]
    spans: tuple[Span, ...] = ()
    corrections: tuple[Float[Tensor, "_ _ d_clip"], ...] = ()
    bias: Float[Tensor, " d_clip"] | None = None

    def dense(self) -> Float[Tensor, "component d d_clip"]:
        """Return all maps in full; a contribution c becomes c W."""
        maps = self.shared.repeat(len(self.components), 1, 1)
        for span, correction in zip(self.spans, self.corrections, strict=True):
            maps[span.rows] += span.expand(correction)
        return maps

    def within(self) -> tuple[Float[Tensor, "_ _ d_clip"], ...]:
        """Return the maps in the components' own coordinates: all that their contributions can see of them."""
        return tuple(s.restrict(self.shared) + c for s, c in zip(self.spans, self.corrections, strict=True))

    def restricted(self, component: Component, basis: Float[Tensor, "d r"] | None = None) -> Float[Tensor, "r d_clip"]:
        """Return the map of one component, `(d, d_clip)`, or of the columns of a basis: B^T W.

        Raises:
            SpecError: no such component.
        """
        if component not in self.components:
            names = [c.name for c in self.components]
            raise SpecError(f"there is no map of {component}{did_you_mean(component.name, names)}")
        place = self.components.index(component)
        start = None if basis is None else basis.to(self.shared)
        found = self.shared if start is None else start.T @ self.shared
        for span, correction in zip(self.spans, self.corrections, strict=True):
            for i in torch.nonzero(span.rows == place)[:, 0].tolist():
                own = correction[i] if span.basis is None else span.basis[i] @ correction[i]
                found = found + (own if start is None else start.T @ own)
        return found

    def split(self, directions: Directions) -> LinearMaps:
        """Give every unit the map of its component.

        A unit has one direction u, and one row of its own, u^T (W - shared).

        Raises:
            InputError: directions of other components.
        """
        directions.check(self.components)
        spans, corrections = list[Span](), list[Tensor]()
        units: dict[Component, list[tuple[int, int | None]]] = {}
        for row, unit in enumerate(directions.units):
            units.setdefault(unit.parent, []).append((row, unit.index))
        for span, correction in zip(self.spans, self.corrections, strict=True):
            for i, place in enumerate(span.rows.tolist()):
                basis, own = None if span.basis is None else span.basis[i], correction[i]
                for row, index in units[self.components[place]]:
                    kept, part = basis, own
                    if index is not None:
                        u = directions.bases[self.components[place]][index].to(own)[:, None]
                        kept, part = u, u.T @ (own if basis is None else basis @ own)
                    spans.append(Span(torch.tensor([row]), None if kept is None else kept[None]))
                    corrections.append(part[None])
        components = tuple(unit.component for unit in directions.units)
        return LinearMaps(components, self.shared, tuple(spans), tuple(corrections), self.bias)

    def total(self, values: Float[Tensor, "n component d"]) -> Float[Tensor, "n d_clip"]:
        """Sum the mapped contributions, without computing each of them."""
        values = values.to(self.shared)
        return self.together([span.coordinates(values).flatten(1) for span in self.spans], values.sum(1))

    def together(self, x: Sequence[Float[Tensor, "n _"]], total: Float[Tensor, "n d"]) -> Float[Tensor, "n d_clip"]:
        """Compute the same from the contributions' coordinates in each span, side by side, and from their sum."""
        parts = (
            own.to(correction) @ correction.flatten(0, 1) for own, correction in zip(x, self.corrections, strict=True)
        )
        summed = reduce(torch.add, parts, total.to(self.shared) @ self.shared)
        return summed if self.bias is None else summed + self.bias

    def __call__(self, c: Contributions) -> Contributions:
        """Return every contribution mapped; a bias is one component more.

        Raises:
            InputError: other components, or another dimension.
        """
        self.check(c.components, c.dimension)
        values = c.values.to(self.shared)
        mapped = values @ self.shared
        for span, correction in zip(self.spans, self.corrections, strict=True):
            mapped[:, span.rows] += torch.einsum("nkr,krm->nkm", span.coordinates(values), correction)
        if self.bias is None:
            return replace(c, values=mapped)
        bias = self.bias.expand(len(mapped), 1, -1)
        return replace(c, values=torch.cat([mapped, bias], 1), components=(*c.components, BIAS))

    def check(self, components: tuple[Component, ...], dimension: int) -> None:
        """Raise `InputError` unless contributions have the components and the dimension of these maps."""
        if dimension != len(self.shared):
            raise InputError(f"contributions of dimension {dimension}, but the maps were fitted to {len(self.shared)}")
        if components != self.components:
            raise InputError(f"the maps were fitted to other components: {_difference(components, self.components)}")


def _difference(given: tuple[Component, ...], fitted: tuple[Component, ...]) -> str:
    names, known = [c.name for c in given], [c.name for c in fitted]
    extra, missing = [n for n in names if n not in known], [n for n in known if n not in names]
    told = [f"{what} {', '.join(some[:3])}" for what, some in (("without", missing), ("with", extra)) if some]
    if told:
        return f"here {' and '.join(told)} ({len(names)} components, {len(known)} in the maps)"
    return "the same names in another order" if names != known else "the same names with other blocks or modules"
