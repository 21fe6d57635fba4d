"""Views of a picture: a part of it, turned over, in other light, with noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Views:
    """How a kind of view is made.

    Attributes:
        side: pixels. area: the least and the greatest part of the picture that they show.
    """

    side: int
    area: tuple[float, float]


def view(images: Float[Tensor, "n 3 h w"], kind: Views, source: torch.Generator) -> Float[Tensor, "n 3 side side"]:
    """One view of every picture of a batch, drawn from `source`."""
    return _noise(_light(_hue(_part(images, kind, source), source), source), source)


def _part(images: Tensor, kind: Views, source: torch.Generator) -> Tensor:
    """A random part, of nearly square shape, turned over half of the time."""
    n = len(images)
    area = _uniform(n, *kind.area, source, images)
    stretch = _uniform(n, -0.15, 0.15, source, images).exp()
    wide, high = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    x = (1 - wide) * _uniform(n, -1.0, 1.0, source, images)
    y = (1 - high) * _uniform(n, -1.0, 1.0, source, images)
    flip = torch.where(_uniform(n, 0.0, 1.0, source, images) < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(x)
    maps = torch.stack([torch.stack([wide * flip, zero, x], 1), torch.stack([zero, high, y], 1)], 1)
    grid = functional.affine_grid(maps, [n, 3, kind.side, kind.side], align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _hue(images: Tensor, source: torch.Generator, angle: float = 0.5, grey: float = 0.1) -> Tensor:
    """Colours turned about the grey axis by an angle in radians, or none at all in a tenth of the pictures.

    If colours could be relied on, they would tell most scenes apart, and shapes would not have to be looked at.
    """
    n = len(images)
    turned = _uniform(n, -angle, angle, source, images)[:, None, None]
    axis = torch.full((3, 3), 1 / 3, device=images.device)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=images.device) / 3**0.5
    turn = turned.cos() * (torch.eye(3, device=images.device) - axis) + turned.sin() * cross
    chroma = (_uniform(n, 0.0, 1.0, source, images) >= grey).float()[:, None, None]
    return torch.einsum("nij,njhw->nihw", axis + chroma * turn, images)


def _light(images: Tensor, source: torch.Generator) -> Tensor:
    """Brightness, contrast and tint."""
    n = len(images)
    gain = _uniform(n, 0.7, 1.3, source, images)[:, None, None, None]
    tint = _uniform(3 * n, 0.85, 1.15, source, images).view(n, 3, 1, 1)
    shift = _uniform(n, -0.2, 0.2, source, images)[:, None, None, None]
    return images * gain * tint + shift


def _noise(images: Tensor, source: torch.Generator) -> Tensor:
    amount = _uniform(len(images), 0.0, 0.1, source, images)[:, None, None, None]
    return images + amount * torch.randn(images.shape, generator=source, device=images.device)


def _uniform(n: int, low: float, high: float, source: torch.Generator, like: Tensor) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=source, device=like.device)
