"""Which tokens a leaf has, where only those that reach the representation were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vitdecomp.trace.layout import TOKEN, Layout
from vitdecomp.trace.linear_graph import Leaf
from vitdecomp.trace.rule import Gate
from vitdecomp.trace.sink import cut_to


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a leaf.

    Attributes:
        kept: their numbers, in the order of the leaf's token axis; a `range` where they lie evenly apart.
        count: how many there are of them in the model.
    """

    kept: Sequence[int]
    count: int

    @classmethod
    def all_of(cls, layout: Layout) -> Tokens:
        """Those of a leaf that is whole."""
        count = layout.count(TOKEN)
        return cls(range(count), count)


def kept_tokens(leaf: Leaf, layout: Layout, recorded: Mapping[Gate, Any]) -> Tokens:
    """The tokens that a selection has left of a leaf.

    The numbers of all tokens are laid out as the leaf was before the selection, and cut as it was. A selection along
    an axis that holds more than tokens leaves no numbers to be told; what it has left is numbered anew.

    Args:
        leaf: in a graph with selections sunk.
        layout: of the leaf as it is.
        recorded: gates of the trial batch.
    """
    if leaf.value.fn is not cut_to:
        return Tokens.all_of(layout)
    whole, *window = leaf.value.args
    axis = window[0]
    if any(label != TOKEN for label, _ in layout.factors[axis]):
        return Tokens.all_of(layout)
    size = recorded[whole].shape
    before = replace(layout, factors=_with(layout.factors, axis, ((TOKEN, size[axis]),)))
    count = before.count(TOKEN)
    numbers = torch.arange(count)[:, None].expand(count, before.count("w"))
    laid_out = before.native(numbers.expand(1, before.count("h"), *numbers.shape), 1)
    found = layout.canonical(cut_to(laid_out, *window), 1)[0, 0, :, 0]
    return Tokens(_evenly(found.tolist()), count)


def _evenly(numbers: list[int]) -> Sequence[int]:
    """The same numbers as a range, if they are one: a table of all patches of a large image would be long."""
    if len(numbers) > 1 and numbers[1] != numbers[0]:
        step = numbers[1] - numbers[0]
        even = range(numbers[0], numbers[-1] + (1 if step > 0 else -1), step)
        if [*even] == numbers:
            return even
    return tuple(numbers)


def _with(factors: tuple[Any, ...], axis: int, factor: Any) -> tuple[Any, ...]:
    return (*factors[:axis], factor, *factors[axis + 1 :])
