"""Which tokens of a layer are which tokens of the model behind its last block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from vitdecomp.component import Token

NONE = -1
"""In place of a number: a token that is no part of any."""


def parents(tokens: Sequence[Token], of: Sequence[Token]) -> Int64[Tensor, " token"]:
    """Find for each token the one of another layer that it is, or is merged into.

    A patch of a finer grid belongs to the patch of the coarser one that its middle lies in. Class and register tokens
    are found by their order.

    Args:
        tokens: of a layer.
        of: of the layer with the coarser grid.
    """
    places = {t.position: i for i, t in enumerate(of) if t.position is not None}
    others: dict[str, list[int]] = {}
    for i, token in enumerate(of):
        others.setdefault(token.kind, []).append(i)
    grid = next((token.grid for token in of if token.grid is not None), None)
    seen: dict[str, int] = {}
    found = []
    for token in tokens:
        if token.position is not None and token.grid is not None and grid is not None:
            at = tuple(map(_within, token.position, token.grid, grid))
            found.append(places.get(at, NONE))
        else:
            number = seen.get(token.kind, 0)
            seen[token.kind] = number + 1
            known = others.get(token.kind, [])
            found.append(known[number] if number < len(known) else NONE)
    return torch.tensor(found)


def _within(place: int, fine: int, coarse: int) -> int:
    """Return the cell of the coarser line that the middle of a cell lies in."""
    return int((place + 0.5) * coarse / fine)
