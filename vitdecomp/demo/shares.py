"""How much of the representations every component has."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions


@dataclass(frozen=True, slots=True)
class Share:
    """What one component has in the representations, on the average over the images.

    Attributes:
        component: which one.
        norm: its norm over the sum of all components' norms.
        part: <contribution, representation> / |representation|^2; these add up to 1 if the sum is exact.
    """

    component: Component
    norm: float
    part: float


def shares(c: Contributions, representation: Float[Tensor, "n d"]) -> tuple[Share, ...]:
    """Compute the share of every component in the model's own representations, in the components' order."""
    values, whole = c.values.double(), representation.double()
    norms = values.norm(dim=2)
    norm = (norms / norms.sum(1, keepdim=True)).mean(0)
    part = (torch.einsum("ncd,nd->nc", values, whole) / whole.square().sum(1, keepdim=True)).mean(0)
    return tuple(Share(k, float(n), float(p)) for k, n, p in zip(c.components, norm, part, strict=True))


def by_block(component: Component) -> str:
    """Name of a component's block; constants together, and what lies outside of blocks by its kind."""
    if component.is_constant:
        return "constants"
    return component.block or {"embed": "embedding"}.get(component.kind, component.kind)
