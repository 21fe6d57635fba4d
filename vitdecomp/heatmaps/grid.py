"""From the token axis to a grid of patches, and from there to the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vitdecomp.component import Token
from vitdecomp.errors import InputError

LINEAR = ("linear", "bilinear", "trilinear")  # by the number of axes


@dataclass(frozen=True)
class PatchGrid:
    """The places of a model's tokens in its input.

    Attributes:
        tokens: what each index of the token axis is (`Decomposer.tokens_`).
    """

    tokens: Sequence[Token]

    @cached_property
    def size(self) -> tuple[int, ...]:
        """Count the patches that the finest grid has along each axis, such as rows and columns.

        Raises:
            InputError: the model has no patches.
        """
        sizes = [token.grid for token in self.tokens if token.grid is not None]
        if not sizes:
            raise InputError("no token of this model has a place in the input, so there is no heatmap of it")
        return max(sizes, key=prod)

    @cached_property
    def grids(self) -> dict[tuple[int, ...], slice]:
        """The indices of each grid on the token axis."""
        found: dict[tuple[int, ...], slice] = {}
        for index, token in enumerate(self.tokens):
            if token.grid is not None and token.grid not in found:
                found[token.grid] = slice(index, index + prod(token.grid))
        return found

    def place(self, x: Float[Tensor, "*lead token"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "*lead"]]:
        """Lay values of tokens out on the finest grid.

        A patch of a coarser grid is spread evenly over its area, so that sums stay as they are.

        Returns:
            The grid, `(*lead, *grid)`, and the sum over the tokens without a place: class and register tokens, padding.
        """
        grid = x.new_zeros((*x.shape[:-1], *self.size))
        for size, where in self.grids.items():
            coarse = torch.unflatten(x[..., where], -1, size)
            grid = grid + along_each(coarse, [_spread(a, b, x) for a, b in zip(size, self.size, strict=True)])
        return grid, x @ (~self.placed).to(x)

    @cached_property
    def placed(self) -> Bool[Tensor, " token"]:
        """Tell which tokens have a place in the input."""
        return torch.tensor([token.grid is not None for token in self.tokens])

    def within(self, x: Float[Tensor, "*lead token"]) -> Float[Tensor, "*lead"]:
        """Sum over the tokens with a place in the input: what values add to the sum over a map."""
        return x @ self.placed.to(x)


def along_each(x: Float[Tensor, "..."], maps: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, "..."]:
    """Multiply the last axes of a value by a matrix each."""
    x = maps[-2] @ x @ maps[-1].T if len(maps) > 1 else x @ maps[-1].T
    for before, matrix in enumerate(reversed(maps[:-2]), 3):
        x = (x.movedim(-before, -1) @ matrix.T).movedim(-1, -before)
    return x


def total(grid: Float[Tensor, "n direction *grid"]) -> Float[Tensor, "n direction"]:
    """Add up each map."""
    return grid.flatten(2).sum(2)


def _spread(coarse: int, fine: int, like: Tensor) -> Float[Tensor, "fine coarse"]:
    """Return the share of each of `coarse` cells of a line that lies in each of `fine` cells."""
    edges = torch.arange(fine + 1, device=like.device, dtype=like.dtype) * (coarse / fine)
    cells = torch.arange(coarse, device=like.device, dtype=like.dtype)
    low = torch.maximum(edges[:-1, None], cells)
    high = torch.minimum(edges[1:, None], cells + 1)
    return (high - low).clamp_min(0)


def summed(pixels: Float[Tensor, "..."], size: tuple[int, ...]) -> Float[Tensor, "..."]:
    """Add up values of pixels, along the last axes, over the cells of a grid."""
    wholes = pixels.shape[-len(size) :]
    return along_each(pixels, [_spread(whole, part, pixels) for whole, part in zip(wholes, size, strict=True)])


def upsampled(grid: Float[Tensor, "n direction *grid"], size: tuple[int, ...]) -> Float[Tensor, "n direction *size"]:
    """Bring a grid to the resolution of the input, linearly along each axis between the centers of the patches.

    Raises:
        InputError: a grid of more than three axes.
    """
    if len(size) > len(LINEAR):
        raise InputError(f"maps {' x '.join(map(str, size))} of more than three axes are not resized: take their grid")
    return F.interpolate(grid, size=size, mode=LINEAR[len(size) - 1], align_corners=False)


def resized(grid: Float[Tensor, "..."], size: tuple[int, ...]) -> Float[Tensor, "..."]:
    """Bring a grid of patches, along the last axes, to a finer one; each patch keeps its value all over its area."""
    own = grid.shape[-len(size) :]
    if own == size:
        return grid
    spread = [_spread(a, b, grid) for a, b in zip(own, size, strict=True)]
    return along_each(grid, [each / each.sum(1, keepdim=True) for each in spread])
