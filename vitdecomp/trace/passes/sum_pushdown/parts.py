"""The parts of a model whose linear map pools early: what is left of a leaf, and the leaf as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitdecomp.trace.axes.layout import CHANNEL, HEAD, IMAGE, TOKEN, Layout
from vitdecomp.trace.passes.folded_projection import without
from vitdecomp.trace.passes.sum_pushdown.pool import Pool, spans
from vitdecomp.trace.rule import Gate


class Piece(NamedTuple):
    """The finest factor of a leaf's axis: what it is, its size (-1 for the image), and whether it is added up."""

    label: str
    size: int
    factor: int
    pooled: bool


@dataclass(frozen=True, slots=True)
class Whole:
    """A leaf before its tokens were added up.

    Attributes:
        value: the leaf as it was.
        layout: of its axes.
        pool: how it is added up.
        pieces: its finest factors.
    """

    value: Gate
    layout: Layout
    pool: Pool
    pieces: tuple[Piece, ...]

    @property
    def gates(self) -> tuple[Gate, ...]:
        """What must be recorded: of a difference its terms, which other parts may need as well."""
        return (*(self.value.args if self.value.fn is without else [self.value]), self.pool.weights)

    def of(self, recorded: Mapping[Gate, Any]) -> Tensor:
        """The leaf's value."""
        if self.value.fn is without:
            return without(*(recorded[term] for term in self.value.args))
        found: Tensor = recorded[self.value]
        return found

    def apart(self, recorded: Mapping[Gate, Any], images: int, some: Sequence[int]) -> Tensor:
        """What is left of the leaf if it has one token alone, for some tokens, `(token, *shape that is left)`.

        A token is multiplied with its weight in each lane. Factors that hold tokens and are not added up keep the
        token in its place, with zeros at all others.
        """
        x, weights = self.of(recorded), recorded[self.pool.weights]
        lanes, labels = [*self.pool.lanes], range(len(self.pieces))
        sizes = [images if piece.label == IMAGE else piece.size for piece in self.pieces]
        tokens = [i for i in labels if self.pieces[i].label == TOKEN]
        rest = [i for i in labels if i not in tokens]
        chosen = torch.tensor([*some], device=x.device)
        own = x.reshape(sizes).permute(*tokens, *rest).flatten(0, len(tokens) - 1)[chosen]
        fine = self._fine(weights, sizes).expand(*lanes, *(s if i in tokens else -1 for i, s in enumerate(sizes)))
        front = len(lanes)
        order = [*(front + i for i in tokens), *range(front), *(front + i for i in rest)]
        scales = fine.permute(order).flatten(0, len(tokens) - 1)[chosen]
        found = own.reshape(len(some), *(1 for _ in lanes), *own.shape[1:]) * scales.to(x.dtype)
        places = torch.unravel_index(chosen, [sizes[i] for i in tokens])
        for i, place in zip(tokens, places, strict=True):
            if not self.pieces[i].pooled:
                one = torch.eye(sizes[i], dtype=x.dtype, device=x.device)[place]
                axis = 1 + front + sum(not piece.pooled for piece in self.pieces[:i])
                behind = (1,) * (found.ndim - axis)
                found = found.unsqueeze(axis) * one.reshape(len(some), *(1,) * (axis - 1), -1, *behind)
        return found.reshape(len(some), *self.pool.after)

    def _fine(self, weights: Tensor, sizes: Sequence[int]) -> Tensor:
        """The weights with an axis for every piece, of size one where they do not differ, `(*lanes, *pieces)`."""
        lanes = len(self.pool.lanes)
        own = [weights.shape[lanes + piece.factor] > 1 for piece in self.pieces]
        return weights.reshape(*weights.shape[:lanes], *(s if many else 1 for many, s in zip(own, sizes, strict=True)))

    def tokens(self, recorded: Mapping[Gate, Any], adjoint: Tensor, images: int) -> Tensor:
        """<adjoint, what each token of each head adds to the pooled leaf>, `(n, head, token)`.

        Each token is multiplied with the adjoint of every lane, and these products added up with its weights there.
        """
        x, weights = self.of(recorded), recorded[self.pool.weights]
        lanes = [*self.pool.lanes]
        sizes = [images if piece.label == IMAGE else piece.size for piece in self.pieces]
        labels, front = [*range(len(sizes))], [*range(len(sizes), len(sizes) + len(lanes))]
        kept = [i for i in labels if not self.pieces[i].pooled]
        order = [i for label in (IMAGE, HEAD, TOKEN) for i in labels if self.pieces[i].label == label]
        a = adjoint.reshape([*lanes, *(sizes[i] for i in kept)])
        products = torch.einsum(x.reshape(sizes), labels, a, [*front, *kept], [*front, *order])
        fine = self._fine(weights, sizes)
        mixed = [i for i in labels if i not in order]
        fine = fine.permute([*range(len(lanes)), *(len(lanes) + i for i in (*order, *mixed))])
        found = products * fine.flatten(products.ndim - 1).to(products.dtype)
        found = found.sum([*range(len(lanes))]) if lanes else found
        table: Tensor = found.reshape(images, self.layout.count(HEAD), self.layout.count(TOKEN))
        return table


def pieces(layout: Layout, pool: Pool, weighted: set[int]) -> tuple[Piece, ...] | None:
    """The finest factors of a leaf by its layout and a pool.

    `None` where these do not fit together, where not only tokens are added up, or where channels have own weights.
    """
    images, found = pool.factors[pool.image], list[Piece]()
    for factors, group, numbers in zip(layout.factors, pool.groups, pool.numbered, strict=True):
        sizes = [images if size == -1 else size for _, size in factors]
        labels, own = spans(sizes), spans(group)
        ends = sorted({*labels, *own}, reverse=True)
        if labels[0] != own[0] or any(high % low for high, low in pairwise(ends)):
            return None
        for high, low in pairwise(ends):
            label = next(factors[i][0] for i in range(len(factors)) if labels[i] >= high > labels[i + 1])
            factor = next(numbers[i] for i in range(len(group)) if own[i] >= high > own[i + 1])
            size = -1 if label == IMAGE else high // low
            found.append(Piece(label, size, factor, factor in pool.pooled))
    moved = any((piece.label == IMAGE) != (piece.factor == pool.image) for piece in found)
    mixed = any(p.label != TOKEN if p.pooled else p.label == CHANNEL and p.factor in weighted for p in found)
    return None if moved or mixed else tuple(found)


def left(pool: Pool, found: Sequence[Piece]) -> Layout:
    """The layout of a leaf behind a pool: lanes are tokens."""
    kept = [tuple((p.label, p.size) for p in found if p.factor == factor and not p.pooled) for factor in pool.left]
    return Layout((*(((TOKEN, size),) for size in pool.lanes), *kept))
