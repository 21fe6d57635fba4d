"""Units that are removed, as subspaces of the components that they are parts of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.units import Directions


@dataclass(frozen=True, slots=True)
class RemovedUnits:
    """What an ablation of units does to whole components: c' = c - (c - m) P.

    P projects on the removed units of a component, and m is the sum of what takes their place. A removed rest, what no
    direction sees, is the complement of the directions.

    Attributes:
        components: those of which a unit is removed. replacement: m of each.
        bases: orthonormal columns of P, filled up with zeros.
    """

    components: tuple[Component, ...]
    replacement: Float[Tensor, "k d"]
    bases: Float[Tensor, "k d r"]

    @classmethod
    def of(cls, units: Sequence[Component], replacement: Float[Tensor, "u d"], directions: Directions) -> RemovedUnits:
        """Gather units by their components.

        Args:
            units: those that are removed.
            replacement: what takes the place of each.
            directions: that split the components.
        """
        place = {unit: i for i, unit in enumerate(units)}
        parts: dict[Component, list[tuple[int | None, int]]] = {}
        for unit in directions.units:
            if unit.component in place:
                parts.setdefault(unit.parent, []).append((unit.index, place[unit.component]))
        bases = [_basis(directions, parent, [i for i, _ in own]).to(replacement) for parent, own in parts.items()]
        stand_ins = [replacement[[row for _, row in own]].sum(0) for own in parts.values()]
        widest = max(basis.shape[1] for basis in bases)
        padded = [torch.nn.functional.pad(basis, (0, widest - basis.shape[1])) for basis in bases]
        return cls(tuple(parts), torch.stack(stand_ins), torch.stack(padded))


def _basis(directions: Directions, parent: Component, indices: Sequence[int | None]) -> Float[Tensor, "d r"]:
    """Return orthonormal columns of some units of a component; `None` is the rest, or the whole component."""
    d = next(iter(directions.bases.values())).shape[1]
    if parent not in directions.bases:
        return torch.eye(d)
    own = directions.bases[parent].double().T
    columns = own[:, [i for i in indices if i is not None]]
    if None in indices:
        complement = torch.linalg.qr(own, mode="complete").Q[:, own.shape[1] :]
        columns = torch.cat([columns, complement], 1)
    return columns
