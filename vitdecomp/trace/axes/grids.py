"""Grids of patches along any axes of an input (rows and columns, frames, time), found from where tokens lie in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

NEAR = 0.02  # pixels: places that are no farther apart are the same


@dataclass(frozen=True, slots=True)
class Lines:
    """The different coordinates of some tokens along one axis of the input.

    Attributes:
        values: in ascending order.
        of: for each token, the number of its coordinate.
    """

    values: Tensor
    of: Tensor

    @classmethod
    def among(cls, coordinates: Tensor) -> Lines:
        """Those of some tokens."""
        ordered = coordinates.sort().values
        new = torch.ones(len(ordered), dtype=torch.bool)
        new[1:] = ordered.diff() > NEAR
        starts = ordered[new]
        return cls(starts, torch.searchsorted(starts, coordinates + NEAR / 2, right=True) - 1)

    @property
    def gap(self) -> float | None:
        """The usual distance of two neighbours, `None` if there is but one line."""
        return float(self.values.diff().median()) if len(self.values) > 1 else None

    def fills(self, size: int, gap: float, *, overlapping: bool = False) -> bool:
        """Check whether no further line has room in an axis of so many pixels.

        Args:
            size: of the axis.
            gap: between two lines.
            overlapping: whether patches may be wider than the gap; then the first one begins at the first pixel.
        """
        low, high = float(self.values[0]), float(self.values[-1])
        if len(self.values) * gap > size - gap + NEAR:  # mixed with zeros at the edge, lines move inwards
            return True
        reach = max(gap / 2 - 0.5, low if overlapping else 0.0)  # of a patch, to either side of its line
        return low - gap - reach < NEAR and high + gap + reach > size - 1 - NEAR


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid that tokens lie on.

    Attributes:
        lines: of these tokens, along each axis.
        axes: of an input, along which they lie.
    """

    lines: tuple[Lines, ...]
    axes: tuple[int, ...]

    @property
    def rows(self) -> Lines:
        """The lines along the last axis but one."""
        return self.lines[-2]

    @property
    def columns(self) -> Lines:
        """The lines along the last axis."""
        return self.lines[-1]

    @property
    def size(self) -> tuple[int, ...]:
        """Count the lines along each axis, such as rows and columns."""
        return tuple(len(lines.values) for lines in self.lines)

    @property
    def cells(self) -> Tensor:
        """The number of each token's cell, row by row."""
        return numbered([lines.of for lines in self.lines], self.size)

    def fills(self, sizes: Sequence[int], *, overlapping: bool = False) -> bool:
        """Check whether it covers an input of these sizes."""
        along = [(lines, sizes[axis]) for lines, axis in zip(self.lines, self.axes, strict=True)]
        gaps = [lines.gap for lines in self.lines if lines.gap is not None]
        if not gaps:  # a single place: the middle of the input, or one of the tokens of a larger grid
            return all(abs(float(lines.values[0]) - (size - 1) / 2) <= max(1.0, size / 8) for lines, size in along)
        return all(lines.fills(size, lines.gap or gaps[0], overlapping=overlapping) for lines, size in along)

    def within(self, other: Grid) -> Grid | None:
        """Place the tokens on a larger grid; return `None` if they do not lie on its lines."""
        found = []
        for own, all_lines in zip(self.lines, other.lines, strict=True):
            distance, nearest = (own.values[:, None] - all_lines.values).abs().min(1)
            if float(distance.max()) > (all_lines.gap or 0.0) / 4 or len({*nearest.tolist()}) < len(nearest):
                return None
            found.append(Lines(all_lines.values, nearest[own.of]))
        return Grid(tuple(found), self.axes)


def numbered(places: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Count cells row by row, from their places along each axis of a grid of a size."""
    number = torch.zeros_like(places[0])
    for place, count in zip(places, size, strict=True):
        number = number * count + place
    return number


def find_grids(places: Mapping[int, Tensor], sizes: Sequence[int]) -> dict[int, Grid]:
    """Find the grid of each leaf's tokens.

    A leaf whose tokens fill the input has a grid of its own; one with some of them lies on the grid of another one.
    Tokens that lie on no grid, as those that mix all of the input do, are left out.

    Args:
        places: for each leaf, mean coordinates of its tokens along each axis of an input, `(token, axis)`.
        sizes: how long these axes are.
    """
    axes = _spatial(places, len(sizes))
    own = {leaf: Grid(tuple(Lines.among(at[:, axis]) for axis in axes), axes) for leaf, at in places.items() if len(at)}
    known = {leaf: grid for leaf, grid in own.items() if _is_grid(grid)}
    full = {leaf: grid for leaf, grid in known.items() if grid.fills(sizes)}
    if not full:  # patches that overlap leave a rest at the edge that is wider than their distance
        full = {leaf: grid for leaf, grid in known.items() if grid.fills(sizes, overlapping=True)}
    found = dict(full)
    for leaf, grid in own.items():
        larger = (grid.within(other) for other in full.values()) if leaf not in full else ()
        placed = next((each for each in larger if each is not None), None)
        if placed is not None:
            found[leaf] = placed
    return found


def _is_grid(grid: Grid) -> bool:
    """Check whether every crossing of its lines has a token, and several tokens have more than one place."""
    cells, count = grid.cells, prod(grid.size)
    return len({*cells.tolist()}) == count and (count > 1 or len(cells) == 1)


def _spatial(places: Mapping[int, Tensor], count: int) -> tuple[int, ...]:
    """Return the axes of an input along which tokens differ, and at least two: the last ones, if it has so many."""
    moving = {
        a for a in range(count) for at in places.values() if len(at) and float(at[:, a].max() - at[:, a].min()) > NEAR
    }
    still = [a for a in reversed(range(count)) if a not in moving]
    return tuple(sorted({*moving, *still[: max(0, 2 - len(moving))]}))
