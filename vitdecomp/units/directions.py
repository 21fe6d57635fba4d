"""Directions: for each component some orthonormal directions, which split it into units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a component.

    Attributes:
        component: its own key, `blocks.3.attn.head.5.dir.0` or `blocks.3.attn.head.5.rest`.
        parent: the component that it is a part of.
        index: of its direction; `None` for what no direction sees, and for a component that is not split.
    """

    component: Component
    parent: Component
    index: int | None


@dataclass(frozen=True)
class Directions:
    """Orthonormal directions of components, the strongest first.

    A component c with directions u_1 ... u_k becomes the units <c, u_j> u_j and the rest, c less these: the sum stays
    what it was. A component without directions stays whole.

    Attributes:
        components: the component axis.
        bases: rows u_j of the components that are split, `(k, d)`; k may differ.
        strengths: what the directions are ordered by, `(k,)`.
    """

    components: tuple[Component, ...]
    bases: Mapping[Component, Float[Tensor, "_ d"]]
    strengths: Mapping[Component, Float[Tensor, " _"]]

    def __repr__(self) -> str:
        count = sum(len(basis) for basis in self.bases.values())
        return f"Directions: {count:,} of {len(self.bases):,} components, {len(self.components):,} in all"

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """The parts of all components, in the order of these."""
        found: list[Unit] = []
        for parent in self.components:
            if parent not in self.bases:
                found.append(Unit(parent, parent, None))
                continue
            named = (replace(parent, name=f"{parent.name}.dir.{j}") for j in range(len(self.bases[parent])))
            found += [Unit(component, parent, j) for j, component in enumerate(named)]
            found.append(Unit(replace(parent, name=f"{parent.name}.rest"), parent, None))
        return tuple(found)

    def transform(self, c: Contributions) -> Contributions:
        """Split contributions into units, `(n, unit, d)`.

        Raises:
            InputError: other components than those of the directions.
        """
        parts = []
        for own, basis in self._pairs(c):
            if basis is None:
                parts.append(own[:, None])
                continue
            units = (own @ basis.T)[:, :, None] * basis
            parts += [units, (own - units.sum(1))[:, None]]
        receivers = {constant: self._units_of(several) for constant, several in c.bias_receivers.items()}
        values, components = torch.cat(parts, 1), tuple(unit.component for unit in self.units)
        return replace(c, values=values, components=components, bias_receivers=receivers)

    def products(self, c: Contributions, q: Float[Tensor, "n direction d"]) -> Float[Tensor, "n direction unit"]:
        """Multiply units by other directions, without the units themselves.

        Args:
            c: contributions of the components.
            q: for each image.

        Raises:
            InputError: other components than those of the directions.
        """
        parts = []
        for own, basis in self._pairs(c):
            whole = torch.einsum("nqd,nd->nq", q, own)[:, :, None]
            if basis is None:
                parts.append(whole)
                continue
            units = (q @ basis.T) * (own @ basis.T)[:, None]
            parts += [units, whole - units.sum(2, keepdim=True)]
        return torch.cat(parts, 2)

    def save(self, path: Path | str) -> None:
        """Write the directions into a safetensors file.

        Raises:
            OutputError: it cannot be written.
        """
        from vitdecomp.units.directions_file import write

        write(Path(path), self)

    @classmethod
    def load(cls, path: Path | str) -> Directions:
        """Read directions.

        Raises:
            InputError: no such file, or a damaged one.
        """
        from vitdecomp.units.directions_file import read

        return read(Path(path))

    def random(self, seed: int) -> Directions:
        """Draw as many directions of each component at random, as a control; they are orthonormal too."""
        source = torch.Generator().manual_seed(seed)
        drawn = {
            component: torch.linalg.qr(torch.randn(basis.T.shape, generator=source, dtype=torch.float64)).Q.T.to(basis)
            for component, basis in self.bases.items()
        }
        return replace(self, bases=drawn, strengths={c: torch.zeros_like(s) for c, s in self.strengths.items()})

    def _pairs(self, c: Contributions) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the contributions of each component, `(n, d)`, with its directions, `(k, d)`, if it has any."""
        self.check(c.components)
        for place, component in enumerate(c.components):
            own, basis = c.values[:, place], self.bases.get(component)
            yield own, None if basis is None else basis.to(own)

    def check(self, components: tuple[Component, ...]) -> None:
        """Raise `InputError` unless contributions have the components of these directions."""
        if components != self.components:
            missing = [c.name for c in components if c not in self.components]
            what = f", such as {missing[0]}" if missing else ""
            raise InputError(f"the directions were found for other components than these{what}")

    def _units_of(self, parents: tuple[Component, ...]) -> tuple[Component, ...]:
        return tuple(unit.component for parent in parents for unit in self.units if unit.parent == parent)
