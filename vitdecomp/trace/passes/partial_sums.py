"""Leaves whose tokens are added up before the linear map: what is left of each, and the leaf as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitdecomp.trace.axes.layout import LABELS, Axis, Layout
from vitdecomp.trace.leaf_values import without
from vitdecomp.trace.passes.token_products import token_products
from vitdecomp.trace.rule import Gate
from vitdecomp.trace.steps.sums.weighted_sum import WeightedSum, spans


class Piece(NamedTuple):
    """The finest factor of a leaf's axis: what it is, its size (-1 for the image), and whether it is added up."""

    label: Axis
    size: int
    factor: int
    summed: bool


@dataclass(frozen=True, slots=True)
class SummedLeaf:
    """A leaf before its tokens were added up.

    Attributes:
        value: the leaf as it was.
        layout: of its axes.
        total: how it is added up.
        pieces: its finest factors.
    """

    value: Gate
    layout: Layout
    total: WeightedSum
    pieces: tuple[Piece, ...]

    @property
    def gates(self) -> tuple[Gate, ...]:
        """What must be recorded: of a difference its terms, which other parts may need as well."""
        return (*(self.value.args if self.value.fn is without else [self.value]), self.total.weights)

    def of(self, recorded: Mapping[Gate, Any]) -> Tensor:
        """Return the leaf's value."""
        if self.value.fn is without:
            return without(*(recorded[term] for term in self.value.args))
        found: Tensor = recorded[self.value]
        return found

    def apart(self, recorded: Mapping[Gate, Any], images: int, some: Sequence[int]) -> Tensor:
        """Compute what is left of the leaf if it has one token alone, for some tokens, `(token, *shape that is left)`.

        A token is multiplied with its weight in each sum. Factors that hold tokens and are not added up keep the
        token in its place, with zeros at all others.
        """
        x, weights = self.of(recorded), recorded[self.total.weights]
        sums, labels = [*self.total.sums], range(len(self.pieces))
        sizes = [images if piece.label == Axis.IMAGE else piece.size for piece in self.pieces]
        tokens = [i for i in labels if self.pieces[i].label == Axis.TOKEN]
        rest = [i for i in labels if i not in tokens]
        chosen = torch.tensor([*some], device=x.device)
        own = x.reshape(sizes).permute(*tokens, *rest).flatten(0, len(tokens) - 1)[chosen]
        fine = self._fine(weights, sizes).expand(*sums, *(s if i in tokens else -1 for i, s in enumerate(sizes)))
        front = len(sums)
        order = [*(front + i for i in tokens), *range(front), *(front + i for i in rest)]
        scales = fine.permute(order).flatten(0, len(tokens) - 1)[chosen]
        found = own.reshape(len(some), *(1 for _ in sums), *own.shape[1:]) * scales.to(x.dtype)
        places = torch.unravel_index(chosen, [sizes[i] for i in tokens])
        for i, place in zip(tokens, places, strict=True):
            if not self.pieces[i].summed:
                one = one_hot(place, sizes[i], x)
                axis = 1 + front + sum(not piece.summed for piece in self.pieces[:i])
                behind = (1,) * (found.ndim - axis)
                found = found.unsqueeze(axis) * one.reshape(len(some), *(1,) * (axis - 1), -1, *behind)
        return found.reshape(len(some), *self.total.after)

    def _fine(self, weights: Tensor, sizes: Sequence[int]) -> Tensor:
        """Give the weights an axis for every piece, of size one where they do not differ, `(*sums, *pieces)`."""
        sums = len(self.total.sums)
        own = [weights.shape[sums + piece.factor] > 1 for piece in self.pieces]
        return weights.reshape(*weights.shape[:sums], *(s if many else 1 for many, s in zip(own, sizes, strict=True)))

    def tokens(self, recorded: Mapping[Gate, Any], adjoint: Tensor, images: int) -> Tensor:
        """<adjoint, what each token of each head adds to the sums>, `(direction, n, head, token)`.

        Each token is multiplied with the adjoint of every sum, and these products added up with its weights there.

        Args:
            recorded: the gates of a batch of n images.
            adjoint: of the sums, `(direction, *shape that is left)`.
            images: n.
        """
        x, weights = self.of(recorded), recorded[self.total.weights].to(adjoint.dtype)
        if any(piece.label == Axis.TOKEN and not piece.summed for piece in self.pieces):
            return self._by_piece(x, weights, adjoint, images)
        order = [i for label in LABELS for i, piece in enumerate(self.pieces) if piece.label == label]
        sums, sizes = len(self.total.sums), [images if p.label == Axis.IMAGE else p.size for p in self.pieces]
        fine = self._fine(weights, sizes)
        tokens = [size if piece.label == Axis.TOKEN else -1 for piece, size in zip(self.pieces, sizes, strict=True)]
        fine = fine.expand(*fine.shape[:sums], *tokens).permute(*range(sums), *(sums + i for i in order))
        shape = [
            torch.Size([fine.shape[sums + j] for j, i in enumerate(order) if self.pieces[i].label == label]).numel()
            for label in (Axis.IMAGE, Axis.HEAD, Axis.TOKEN)
        ]
        adjoints = left(self.total, self.pieces).canonical(adjoint, images)
        return token_products(self.layout.canonical(x, images), adjoints, fine.reshape(-1, *shape))

    def _by_piece(self, x: Tensor, weights: Tensor, adjoint: Tensor, images: int) -> Tensor:
        """Multiply where some factors that hold tokens are not added up."""
        sums = [*self.total.sums]
        sizes = [images if piece.label == Axis.IMAGE else piece.size for piece in self.pieces]
        labels, direction = [*range(len(sizes))], len(sizes)
        front = [*range(direction + 1, direction + 1 + len(sums))]
        kept = [i for i in labels if not self.pieces[i].summed]
        order = [i for label in (Axis.IMAGE, Axis.HEAD, Axis.TOKEN) for i in labels if self.pieces[i].label == label]
        a = adjoint.reshape([-1, *sums, *(sizes[i] for i in kept)])
        products = torch.einsum(x.reshape(sizes), labels, a, [direction, *front, *kept], [direction, *front, *order])
        fine = self._fine(weights, sizes)
        mixed = [i for i in labels if i not in order]
        fine = fine.permute([*range(len(sums)), *(len(sums) + i for i in (*order, *mixed))])
        found = products * fine.flatten(products.ndim - 2)
        found = found.sum([*range(1, 1 + len(sums))]) if sums else found
        table: Tensor = found.reshape(-1, images, self.layout.count(Axis.HEAD), self.layout.count(Axis.TOKEN))
        return table


def one_hot(places: Sequence[int] | Tensor, total: int, like: Tensor) -> Tensor:
    """Build a row for each place, one there and zero elsewhere, `(place, total)`, in the number format of a tensor."""
    chosen = torch.as_tensor(places, device=like.device)
    rows = like.new_zeros(len(chosen), total)
    rows[torch.arange(len(chosen), device=like.device), chosen] = 1
    return rows


def pieces(layout: Layout, total: WeightedSum, weighted: set[int]) -> tuple[Piece, ...] | None:
    """Factor a leaf by its layout and a sum over it, as finely as both need.

    `None` where these do not fit together, where not only tokens are added up, or where channels have own weights.
    """
    images, found = total.factors[total.image], list[Piece]()
    for factors, group, numbers in zip(layout.factors, total.groups, total.numbered, strict=True):
        sizes = [images if size == -1 else size for _, size in factors]
        labels, own = spans(sizes), spans(group)
        ends = sorted({*labels, *own}, reverse=True)
        if labels[0] != own[0] or any(high % low for high, low in pairwise(ends)):
            return None
        for high, low in pairwise(ends):
            label = next(factors[i][0] for i in range(len(factors)) if labels[i] >= high > labels[i + 1])
            factor = next(numbers[i] for i in range(len(group)) if own[i] >= high > own[i + 1])
            size = -1 if label == Axis.IMAGE else high // low
            found.append(Piece(label, size, factor, factor in total.summed))
    moved = any((piece.label == Axis.IMAGE) != (piece.factor == total.image) for piece in found)
    mixed = any(p.label != Axis.TOKEN if p.summed else p.label == Axis.CHANNEL and p.factor in weighted for p in found)
    return None if moved or mixed else tuple(found)


def left(total: WeightedSum, found: Sequence[Piece]) -> Layout:
    """Return the layout of a leaf behind a sum: several sums are tokens."""
    kept = [tuple((p.label, p.size) for p in found if p.factor == factor and not p.summed) for factor in total.kept]
    return Layout((*(((Axis.TOKEN, size),) for size in total.sums), *kept))
