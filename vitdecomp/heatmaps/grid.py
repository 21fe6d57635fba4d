"""From the token axis to a grid of patches, and from there to the pixels of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vitdecomp.component import Token
from vitdecomp.errors import InputError


@dataclass(frozen=True)
class PatchGrid:
    """The places of a model's tokens in the image.

    Attributes:
        tokens: what each index of the token axis is (`Decomposer.tokens_`).
    """

    tokens: Sequence[Token]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the finest grid of patches.

        Raises:
            InputError: the model has no patches.
        """
        sizes = [token.grid for token in self.tokens if token.grid is not None]
        if not sizes:
            raise InputError("no token of this model has a place in the image, so there is no heatmap of it")
        return max(sizes, key=lambda size: size[0] * size[1])

    @cached_property
    def grids(self) -> dict[tuple[int, int], slice]:
        """The indices of each grid on the token axis."""
        found: dict[tuple[int, int], slice] = {}
        for index, token in enumerate(self.tokens):
            if token.grid is not None and token.grid not in found:
                found[token.grid] = slice(index, index + token.grid[0] * token.grid[1])
        return found

    def place(self, x: Float[Tensor, "*lead token"]) -> tuple[Float[Tensor, "*lead h w"], Float[Tensor, "*lead"]]:
        """Lay values of tokens out on the finest grid.

        A patch of a coarser grid is spread evenly over its area, so that sums stay as they are.

        Returns:
            The grid, and the sum over the tokens without a place: class and register tokens, padding.
        """
        height, width = self.size
        grid = x.new_zeros((*x.shape[:-1], height, width))
        for (rows, columns), where in self.grids.items():
            coarse = torch.unflatten(x[..., where], -1, (rows, columns))
            grid = grid + _spread(rows, height, x) @ coarse @ _spread(columns, width, x).T
        return grid, x @ (~self.placed).to(x)

    @cached_property
    def placed(self) -> Bool[Tensor, " token"]:
        """Tell which tokens have a place in the image."""
        return torch.tensor([token.grid is not None for token in self.tokens])

    def within(self, x: Float[Tensor, "*lead token"]) -> Float[Tensor, "*lead"]:
        """Sum over the tokens with a place in the image: what values add to the sum over a map."""
        return x @ self.placed.to(x)


def _spread(coarse: int, fine: int, like: Tensor) -> Float[Tensor, "fine coarse"]:
    """Return the share of each of `coarse` cells of a line that lies in each of `fine` cells."""
    edges = torch.arange(fine + 1, device=like.device, dtype=like.dtype) * (coarse / fine)
    cells = torch.arange(coarse, device=like.device, dtype=like.dtype)
    low = torch.maximum(edges[:-1, None], cells)
    high = torch.minimum(edges[1:, None], cells + 1)
    return (high - low).clamp_min(0)


def summed(pixels: Float[Tensor, "*lead H W"], size: tuple[int, int]) -> Float[Tensor, "*lead h w"]:
    """Add up values of pixels over the cells of a grid."""
    rows, columns = (_spread(whole, part, pixels) for whole, part in zip(pixels.shape[-2:], size, strict=True))
    return rows @ pixels @ columns.T


def upsampled(grid: Float[Tensor, "n direction h w"], size: tuple[int, int]) -> Float[Tensor, "n direction H W"]:
    """Bring a grid to the resolution of the image, bilinearly between the centers of the patches."""
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=False)


def resized(grid: Float[Tensor, "*lead h w"], size: tuple[int, int]) -> Float[Tensor, "*lead H W"]:
    """Bring a grid of patches to a finer one; each patch keeps its value all over its area."""
    if grid.shape[-2:] == size:
        return grid
    rows, columns = (_spread(a, b, grid) for a, b in zip(grid.shape[-2:], size, strict=True))
    spread = rows / rows.sum(1, keepdim=True), columns / columns.sum(1, keepdim=True)
    return spread[0] @ grid @ spread[1].T
