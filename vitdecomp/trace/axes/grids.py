"""Grids of patches: rows and columns, found from where tokens lie in the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

NEAR = 0.02  # pixels: places that are no farther apart are the same


@dataclass(frozen=True, slots=True)
class Lines:
    """The different coordinates of some tokens along one axis of the image.

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

    def fills(self, size: int, gap: float) -> bool:
        """Check whether no further line has room in an axis of so many pixels."""
        low, high = float(self.values[0]), float(self.values[-1])
        if len(self.values) * gap > size - gap + NEAR:  # mixed with zeros at the edge, lines move inwards
            return True
        return low - 1.5 * gap + 0.5 < NEAR and high + 1.5 * gap - 0.5 > size - 1 - NEAR


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid that tokens lie on.

    Attributes:
        rows, columns: the lines of these tokens.
    """

    rows: Lines
    columns: Lines

    @property
    def size(self) -> tuple[int, int]:
        """How many rows and columns there are."""
        return len(self.rows.values), len(self.columns.values)

    def fills(self, height: int, width: int) -> bool:
        """Check whether it covers an image."""
        gaps = [gap for gap in (self.rows.gap, self.columns.gap) if gap is not None]
        if not gaps:  # a single place: the middle of the image, or one of the tokens of a larger grid
            middle = zip((self.rows, self.columns), (height, width), strict=True)
            return all(abs(float(lines.values[0]) - (size - 1) / 2) <= max(1.0, size / 8) for lines, size in middle)
        rows, columns = self.rows.gap or gaps[0], self.columns.gap or gaps[0]
        return self.rows.fills(height, rows) and self.columns.fills(width, columns)

    def within(self, other: Grid) -> Grid | None:
        """Place the tokens on a larger grid; return `None` if they do not lie on its lines."""
        found = []
        for own, all_lines in ((self.rows, other.rows), (self.columns, other.columns)):
            distance, nearest = (own.values[:, None] - all_lines.values).abs().min(1)
            if float(distance.max()) > (all_lines.gap or 0.0) / 4 or len({*nearest.tolist()}) < len(nearest):
                return None
            found.append(Lines(all_lines.values, nearest[own.of]))
        return Grid(*found)


def find_grids(places: Mapping[int, Tensor], sizes: Sequence[int]) -> dict[int, Grid]:
    """Find the grid of each leaf's tokens.

    A leaf whose tokens fill the image has a grid of its own; one with some of them lies on the grid of another one.
    Tokens that lie on no grid, as those that mix all of the image do, are left out.

    Args:
        places: for each leaf, mean coordinates of its tokens along each axis of an image, `(token, axis)`.
        sizes: how long these axes are.
    """
    axes = _spatial(places, len(sizes))
    if axes is None:
        return {}
    row, column = axes
    own = {leaf: Grid(Lines.among(at[:, row]), Lines.among(at[:, column])) for leaf, at in places.items() if len(at)}
    known = {leaf: grid for leaf, grid in own.items() if _is_grid(grid)}
    full = {leaf: grid for leaf, grid in known.items() if grid.fills(sizes[row], sizes[column])}
    found = dict(full)
    for leaf, grid in own.items():
        larger = (grid.within(other) for other in full.values()) if leaf not in full else ()
        placed = next((each for each in larger if each is not None), None)
        if placed is not None:
            found[leaf] = placed
    return found


def _is_grid(grid: Grid) -> bool:
    """Check whether every crossing of its lines has a token, and several tokens have more than one place."""
    rows, columns = grid.size
    crossings = {*(grid.rows.of * columns + grid.columns.of).tolist()}
    return len(crossings) == rows * columns and (rows * columns > 1 or len(grid.rows.of) == 1)


def _spatial(places: Mapping[int, Tensor], count: int) -> tuple[int, int] | None:
    """Return the two axes of an image along which tokens differ; where they differ along fewer, the last two."""
    moving = {
        a for a in range(count) for at in places.values() if len(at) and float(at[:, a].max() - at[:, a].min()) > NEAR
    }
    pairs = sorted(combinations(range(count), 2), key=lambda pair: (-pair[1], -pair[0]))
    return next((pair for pair in pairs if moving <= {*pair}), None)
