"""What a map is the sum of: its layers, or the components that it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """Parts of a map.

    Attributes:
        names: of the parts, such as `blocks.3` or `blocks.3.attn.head.5`.
        values: the map of each part, `(n, direction, part, h, w)`, which add up to the whole; or what each adds to the
            sum over the map, `(n, direction, part)`.
    """

    names: tuple[str, ...]
    values: Float[Tensor, "n direction part *grid"]

    @classmethod
    def named(cls, names: Sequence[str], values: Float[Tensor, "n direction row *grid"]) -> Parts:
        """Add up the rows of each name."""
        known = tuple(dict.fromkeys(names))
        where = torch.tensor([known.index(name) for name in names], dtype=torch.long, device=values.device)
        total = values.new_zeros((*values.shape[:2], len(known), *values.shape[3:]))
        return cls(known, total.index_add_(2, where, values))

    @classmethod
    def joined(cls, parts: Sequence[Parts], axis: int = 0) -> Parts:
        """Put those of several images (axis 0) or directions (axis 1) behind one another."""
        return replace(parts[0], values=torch.cat([part.values for part in parts], axis))

    @property
    def shares(self) -> Float[Tensor, "n direction part"]:
        """Return what each part adds to the sum over the map, as a share of the sizes of all; these add up to one.

        A negative share speaks against. Where a map is zero all shares are.
        """
        return _shares(self.values)

    def largest(self, row: int, column: int, count: int = 3) -> Mapping[str, float]:
        """Return the shares of the largest parts of one map, that of the largest size first."""
        shares = _shares(self.values[row, column][None, None])[0, 0]
        order = shares.abs().argsort(descending=True, stable=True)[:count].tolist()
        return {self.names[i]: float(shares[i]) for i in order if shares[i] != 0}


def _shares(values: Float[Tensor, "n direction part *grid"]) -> Float[Tensor, "n direction part"]:
    amounts = values.flatten(3).sum(3) if values.ndim > 3 else values
    sizes = amounts.abs().sum(2, keepdim=True)
    return amounts / torch.where(sizes > 0, sizes, 1)
