"""Rows and columns follow from where tokens lie."""

from __future__ import annotations

import torch
from torch import Tensor

from vitdecomp.trace.axes.grids import find_grids

SIZES = (3, 32, 48)


def lattice(rows: int, columns: int, size: tuple[int, int] = (32, 48)) -> Tensor:
    """Middles of cells, `(token, axis)`."""
    height, width = size[0] / rows, size[1] / columns
    places = [(1.0, (r + 0.5) * height - 0.5, (c + 0.5) * width - 0.5) for r in range(rows) for c in range(columns)]
    return torch.tensor(places, dtype=torch.float64)


def test_tokens_in_any_order_and_several_times() -> None:
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0)).repeat(2)
    grid = find_grids({0: lattice(4, 6)[order]}, SIZES)[0]
    assert grid.size == (4, 6)
    assert (grid.rows.of * 6 + grid.columns.of).tolist() == order.tolist()


def test_some_tokens_lie_on_the_grid_of_all() -> None:
    whole, coarse = lattice(4, 6), lattice(2, 3)
    found = find_grids({0: whole, 1: whole[[8, 9, 14]], 2: coarse, 3: coarse[4:5]}, SIZES)
    assert [found[i].size for i in range(4)] == [(4, 6), (4, 6), (2, 3), (2, 3)]
    assert (found[1].rows.of * 6 + found[1].columns.of).tolist() == [8, 9, 14]
    assert (found[3].rows.of * 3 + found[3].columns.of).tolist() == [4]


def test_what_lies_on_no_grid_has_none() -> None:
    middle = lattice(1, 1)
    mixed, ragged = middle.repeat(5, 1), lattice(4, 6)[:23]
    assert [*find_grids({0: mixed, 1: ragged}, SIZES)] == []
    assert find_grids({0: middle}, SIZES)[0].size == (1, 1)


def test_channels_may_come_last() -> None:
    places = lattice(4, 6)[:, [1, 2, 0]]
    assert find_grids({0: places}, (32, 48, 3))[0].size == (4, 6)
