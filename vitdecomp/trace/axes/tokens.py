"""One token axis for all parts of a model: what each of its indices is, and where on it a part's tokens lie.

Class and register tokens come first, in the model's own order, then the patches of each grid, row by row (of a video
frame by frame), the finest grid first. What is no such token has indices behind these: the padding of windows, and
vectors without a place in the input. So whatever two parts have at one index may be added up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any, Literal, NamedTuple

import torch

from vitdecomp.component import Token
from vitdecomp.trace.axes.grids import Grid, find_grids
from vitdecomp.trace.axes.layout import Axis, Layout
from vitdecomp.trace.axes.places import ConstantToken, Located, locate
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import Leaf, LinearGraph
from vitdecomp.trace.rule import Gate
from vitdecomp.trace.steps.slices import cut_to
from vitdecomp.trace.walk import alone


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a part.

    Attributes:
        cells: the indices of the token axis that its components have, in ascending order.
        places: for each token of the part, in the order of its leaf, its place among the cells.
    """

    cells: tuple[int, ...]
    places: tuple[int, ...]


NO_TOKENS = Tokens((), ())


@dataclass(frozen=True, slots=True)
class TokenAxis:
    """What the token axis is made of, in this order.

    Attributes:
        constants: `class` or `register`, for each constant token.
        grids: how many patches there are along each axis of each grid, such as rows and columns.
        padding: whether windows are filled up with tokens outside the input, which share one index.
        others: how many tokens there are in each set of vectors without a place.
        along: the axes of an input, its batch not counted, that the axes of grids lie along; empty without grids.
    """

    constants: tuple[Literal["class", "register"], ...] = ()
    grids: tuple[tuple[int, ...], ...] = ()
    padding: bool = False
    others: tuple[int, ...] = ()
    along: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.behind_patches + self.padding + sum(self.others)

    @property
    def tokens(self) -> tuple[Token, ...]:
        """What each index stands for."""
        patches = [Token.patch(at, grid) for grid in self.grids for at in product(*map(range, grid))]
        constants = [Token(kind) for kind in self.constants]
        return (*constants, *patches, *[Token("padding")] * self.padding, *[Token("other")] * sum(self.others))

    @property
    def behind_patches(self) -> int:
        """The index of the padding, if there is any."""
        return len(self.constants) + sum(map(prod, self.grids))

    def of_grid(self, size: tuple[int, ...]) -> range:
        """Return the indices of a grid."""
        before = self.grids[: self.grids.index(size)]
        start = len(self.constants) + sum(map(prod, before))
        return range(start, start + prod(size))

    def of_others(self, count: int) -> range:
        """Return the indices of so many vectors without a place."""
        start = self.behind_patches + self.padding + sum(self.others[: self.others.index(count)])
        return range(start, start + count)


class _Leaf(NamedTuple):
    """A leaf before a selection was sunk into it, and the numbers of the tokens that the selection has left."""

    value: Gate
    layout: Layout
    kept: tuple[int, ...]


def lay_out_tokens(
    captured: Captured, graph: LinearGraph, layouts: Mapping[int, Layout], recorded: Mapping[Gate, Any]
) -> tuple[TokenAxis, dict[int, Tokens]]:
    """Lay out the token axis of a model, and find where on it the tokens of each leaf lie.

    Args:
        captured: the model's graph.
        graph: its linear graph, with selections sunk.
        layouts: of the leaves that have tokens.
        recorded: gates of the trial batch.
    """
    leaves = {i: _whole(graph.leaves[i], layout, recorded) for i, layout in layouts.items()}
    found, constants = locate(captured, {i: (leaf.value, leaf.layout) for i, leaf in leaves.items()})
    # What is made of the input and has no axis for tokens is pooled already.
    known = {i: at for i, at in found.items() if leaves[i].layout.axes(Axis.TOKEN) or not at.seen.any()}
    grids = find_grids({i: at.at[at.seen] for i, at in known.items()}, captured.trial.shape[1:])
    placed = {i: at for i, at in known.items() if i in grids or (not at.seen.any() and bool((at.number > 0).any()))}
    read = {int(placed[i].number[k]) for i in placed for k in leaves[i].kept if graph.leaves[i].value.fn is not alone}
    order = _in_order(placed.values())
    axis = TokenAxis(
        kinds_of(order, constants, read),
        tuple(sorted({grid.size for grid in grids.values()}, key=lambda size: -prod(size))),
        any(bool((~at.seen & (at.number == 0)).any()) for at in placed.values()),
        tuple(sorted({leaf.layout.count(Axis.TOKEN) for i, leaf in leaves.items() if i not in placed})),
        next((grid.axes for grid in grids.values()), ()),
    )
    shared: dict[Tokens, Tokens] = {}  # by parts with the same tokens: files hold them once
    tokens = {}
    for i, leaf in leaves.items():
        cells, indices = (
            _on_axis(axis, placed[i], grids.get(i), order)
            if i in placed
            else [[*axis.of_others(leaf.layout.count(Axis.TOKEN))]] * 2
        )
        place = {cell: number for number, cell in enumerate(cells)}
        own = Tokens(tuple(cells), tuple(place[indices[k]] for k in leaf.kept))
        tokens[i] = shared.setdefault(own, own)
    return axis, tokens


def _whole(leaf: Leaf, layout: Layout, recorded: Mapping[Gate, Any]) -> _Leaf:
    """Restore a leaf as it was before a selection, and list the tokens that are left.

    The numbers of all tokens are laid out as the leaf was before the selection, and cut as it was. A selection along an
    axis that holds more than tokens leaves no numbers to be told.
    """
    count = layout.count(Axis.TOKEN)
    if leaf.value.fn is not cut_to or any(label != Axis.TOKEN for label, _ in layout.factors[leaf.value.args[1]]):
        return _Leaf(leaf.value, layout, tuple(range(count)))
    whole, *window = leaf.value.args
    axis = window[0]
    tokens = ((Axis.TOKEN, recorded[whole].shape[axis]),)
    before = replace(layout, factors=(*layout.factors[:axis], tokens, *layout.factors[axis + 1 :]))
    sizes = [before.count(label) for label in (Axis.HEAD, Axis.TOKEN, Axis.CHANNEL)]
    numbers = before.native(torch.arange(sizes[1])[:, None].expand(1, *sizes), 1)
    return _Leaf(whole, before, tuple(layout.canonical(cut_to(numbers, *window), 1)[0, 0, :, 0].tolist()))


def _in_order(located: Iterable[Located]) -> list[int]:
    """List the constant tokens that occur, in the order of the part that has most of them."""
    own = [[*dict.fromkeys(number for number in at.number.tolist() if number)] for at in located]
    return [*dict.fromkeys(number for several in sorted(own, key=len, reverse=True) for number in several)]


def kinds_of(
    order: Sequence[int], constants: Sequence[ConstantToken], read: Collection[int]
) -> tuple[Literal["class", "register"], ...]:
    """Tell class from register tokens by their parameter's name, else by what the representation reads directly."""
    named = [n for n in order if any(_is_class(name) for name in constants[n - 1].parameters)]
    found = named or [n for n in order if n in read][:1]
    return tuple("class" if n in found else "register" for n in order)


def _is_class(parameter: str) -> bool:
    name = parameter.rpartition(".")[2].lower()
    return "cls" in name or "class" in name


def _on_axis(
    axis: TokenAxis, located: Located, grid: Grid | None, order: Sequence[int]
) -> tuple[Sequence[int], Sequence[int]]:
    """Return the indices that a leaf has, and that of each of its tokens."""
    cells = [*range(len(axis.constants))]
    size = axis.grids[0] if grid is None and len(axis.grids) == 1 else None if grid is None else grid.size
    patches = range(0) if size is None else axis.of_grid(size)
    cells += patches
    indices = torch.full((len(located.seen),), axis.behind_patches)
    for place, number in enumerate(order):
        indices[located.number == number] = place
    if grid is not None:
        indices[located.seen] = patches.start + grid.cells
    found = indices.tolist()
    return ([*cells, axis.behind_patches] if axis.behind_patches in found else cells), found
