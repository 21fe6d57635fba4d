"""A source of contributions, split into units whenever they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.sources.source import Columns
from vitdecomp.sources.wrapped import WrappedSource
from vitdecomp.units.directions import Directions, Unit


@dataclass(frozen=True, slots=True)
class SplitSource(WrappedSource):
    """A source whose components are split; what is read of a unit is one number for an image.

    Attributes:
        directions: found for the components of the source.
    """

    source: Columns
    directions: Directions
    _units: dict[Component, Unit] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse directions of other components."""
        self.directions.check(self.source.components)
        object.__setattr__(self, "_units", {unit.component: unit for unit in self.directions.units})

    @property
    def components(self) -> tuple[Component, ...]:
        """The units."""
        return tuple(self._units)

    def settings(self) -> object:
        """Return a checksum of the directions."""
        return digest([repr(self.components), *self.directions.bases.values()])

    def take(self, rows: Sequence[int]) -> Contributions:
        """Take the units' contributions to some images, in the order asked for."""
        return self.directions.transform(self.source.take(rows))

    def basis(self, component: Component) -> Float[Tensor, "d r"] | None:
        """Return a unit's direction, `(d, 1)`; the rest of a component has no basis."""
        unit = self._units[component]
        if unit.index is not None:
            return self.directions.bases[unit.parent][unit.index][:, None]
        return self.source.basis(component) if unit.parent == component else None

    def coefficients(self, component: Component, rows: range) -> Float[Tensor, "n r"]:
        """Read the coefficients of the component that a unit is a part of, and project them on its direction."""
        unit = self._units[component]
        own = self.source.coefficients(unit.parent, rows)
        if unit.parent == component:
            return own
        basis = self.source.basis(unit.parent)
        directions = self.directions.bases[unit.parent].to(own)
        seen = own @ (directions.T if basis is None else basis.to(own).T @ directions.T)
        if unit.index is not None:
            return seen[:, unit.index, None]
        whole = own if basis is None else own @ basis.to(own).T
        return whole - seen @ directions
