"""Units that are removed or scaled, in terms of the components that they are parts of."""

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
    """Say what is taken from whole components: w (c - m) + sum_j a_j <c - m, u_j> u_j.

    Let b_j be the amount that is taken of the deviation of unit j from its mean, and b that of the rest. Since the rest
    is c less all units, w = b and a_j = b_j - b. A unit that is removed has the amount 1, one that is kept 0.

    Attributes:
        components: those of which something is taken. replacement: m of each, the sum of those of its units.
        bases: u_j as columns, filled up with zeros. amounts: a_j. whole: w.
    """

    components: tuple[Component, ...]
    replacement: Float[Tensor, "k d"]
    bases: Float[Tensor, "k d r"]
    amounts: Float[Tensor, "k r"]
    whole: Float[Tensor, " k"]

    @classmethod
    def of(
        cls,
        units: Sequence[Component],
        replacement: Float[Tensor, "u d"],
        directions: Directions,
        amounts: Float[Tensor, " u"] | None = None,
    ) -> RemovedUnits:
        """Gather units by their components.

        Args:
            units: those that are removed or scaled.
            replacement: what takes the place of each.
            directions: that split the components.
            amounts: how much of each deviation is taken; 1 by default.
        """
        place = {unit: i for i, unit in enumerate(units)}
        parts: dict[Component, list[tuple[int | None, int]]] = {}
        for unit in directions.units:
            if unit.component in place:
                parts.setdefault(unit.parent, []).append((unit.index, place[unit.component]))
        taken = torch.ones(len(place)) if amounts is None else amounts
        k, d = len(parts), replacement.shape[1]
        widest = max(len(directions.bases.get(parent, ())) for parent in parts)
        found = cls(
            tuple(parts),
            replacement.new_zeros(k, d),
            replacement.new_zeros(k, d, widest),
            replacement.new_zeros(k, widest),
            replacement.new_zeros(k),
        )
        for row, (parent, own) in enumerate(parts.items()):
            r = len(directions.bases.get(parent, ()))
            if r:
                found.bases[row, :, :r] = directions.bases[parent].to(replacement).T
            for index, i in own:
                found.replacement[row] += replacement[i]
                if index is None:
                    found.whole[row] = taken[i]
                    found.amounts[row, :r] -= taken[i].to(replacement)
                else:
                    found.amounts[row, index] += taken[i].to(replacement)
        return found
