"""Maps averaged over images that are shifted by parts of a patch: finer than the grid of patches."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.heatmaps import Heatmaps


def offsets(shifts: int) -> list[tuple[float, float]]:
    """Return the shifts as shares of a patch along rows and columns.

    Raises:
        SpecError: their number is no square.
    """
    side = isqrt(max(shifts, 0))
    if side < 1 or side * side != shifts:
        raise SpecError(f"shifts must be 1, 4, 9 or another square, not {shifts}")
    return [(i / side, j / side) for i in range(side) for j in range(side)]


def put_together(found: Sequence[Heatmaps], patches: tuple[int, ...]) -> Heatmaps:
    """Average the maps of shifted images, each moved back.

    A grid of patches becomes finer by the number of shifts per axis; one that is finer than the patches stays.

    Args:
        found: of the shifts of `offsets`, in this order.
        patches: rows and columns of the grid of patches.
    """
    if len(found) == 1:
        return found[0]
    return Heatmaps.combined(found, lambda x: torch.stack(x).mean(0), lambda x: _moved_back(x, patches))


def _moved_back(grids: Sequence[Float[Tensor, "*lead h w"]], patches: tuple[int, ...]) -> Float[Tensor, "*lead H W"]:
    side, total = isqrt(len(grids)), None
    for k, grid in enumerate(grids):
        on_patches = grid.shape[-2:] == patches
        fine = grid.repeat_interleave(side, -2).repeat_interleave(side, -1) / side**2 if on_patches else grid
        cells = [length / count for length, count in zip(fine.shape[-2:], patches, strict=True)]
        by = [round(steps / side * cell) for steps, cell in zip(divmod(k, side), cells, strict=True)]
        moved = torch.roll(fine, by, (-2, -1))
        total = moved if total is None else total + moved
    assert total is not None
    return total / len(grids)
