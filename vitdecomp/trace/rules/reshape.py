"""Operations that keep every element: views, permutations, repetitions, cyclic moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from vitdecomp.trace.rule import Op, Term, broadcast, data, register_rule, shape
from vitdecomp.trace.rules.spectral import conjugate

aten = torch.ops.aten


@register_rule(
    aten.view, aten._unsafe_view, aten.reshape, aten.flatten, aten.unflatten, aten.squeeze,
    aten.unsqueeze, aten.view_as, aten._reshape_alias, aten.reshape_as, aten.view_copy,
    aten.unsqueeze_copy, aten.squeeze_copy, aten.atleast_1d.default, aten.atleast_2d.default,
    aten.atleast_3d.default, aten.ravel,
)  # fmt: skip
def view(op: Op, x: fx.Node, *_: Any) -> list[Term]:
    """View in another shape, the elements in the same order."""
    return [op.reshaped(x)]


@register_rule(aten.view.dtype, aten.view_copy.dtype)
def reinterpret(op: Op, *_: Any) -> None:
    """Refuse to read the same bits as other numbers: that is not linear."""


@register_rule(aten.permute, aten.permute_copy)
def permute(op: Op, x: fx.Node, dims: Sequence[int]) -> list[Term]:
    """Permute the axes."""
    return [data(x).then(torch.permute, tuple(d % len(dims) for d in dims))]


@register_rule(aten.transpose, aten.swapaxes, aten.swapdims, aten.transpose_copy)
def transpose(op: Op, x: fx.Node, a: int, b: int) -> list[Term]:
    """Exchange two axes."""
    dims = list(range(len(op.shape)))
    dims[a], dims[b] = dims[b], dims[a]
    return permute(op, x, dims)


@register_rule(aten.t, aten.t_copy, aten.mT)
def last_two(op: Op, x: fx.Node) -> list[Term]:
    """Transpose a matrix."""
    return transpose(op, x, -1, -2) if len(op.shape) > 1 else [data(x)]


@register_rule(aten.mH, aten.adjoint)
def adjoint(op: Op, x: fx.Node) -> list[Term]:
    """Transpose and conjugate a matrix."""
    return [term.then(conjugate) for term in last_two(op, x)]


@register_rule(aten.numpy_T)
def reverse_axes(op: Op, x: fx.Node) -> list[Term]:
    """Reverse the order of all axes."""
    return permute(op, x, range(len(op.shape))[::-1])


@register_rule(aten.movedim, aten.moveaxis)
def movedim(op: Op, x: fx.Node, source: Any, target: Any) -> list[Term]:
    """Move some axes to other places."""
    marked = torch.empty(tuple(range(len(op.shape))), device="meta")  # every axis as long as its number
    return permute(op, x, tuple(marked.movedim(source, target).shape))


@register_rule(aten.expand, aten.expand_as, aten.broadcast_to, aten.expand_copy)
def expand(op: Op, x: fx.Node, *_: Any, **__: Any) -> list[Term]:
    """Repeat along axes of size one, without a copy."""
    return [data(x).then(broadcast, op.size)]


@register_rule(aten.repeat, aten.tile)
def repeat(op: Op, x: fx.Node, repeats: Sequence[Any]) -> list[Term]:
    """Tile."""
    return [data(x).then(torch.tile, tuple(repeats))]


@register_rule(aten.repeat_interleave.self_int)
def repeat_interleave(op: Op, x: fx.Node, repeats: Any, dim: int | None = None, **_: Any) -> list[Term]:
    """Repeat every slice several times in a row."""
    return [data(x).then(torch.repeat_interleave, repeats, dim=dim)]


@register_rule(aten.roll)
def roll(op: Op, x: fx.Node, shifts: Sequence[Any], dims: Sequence[int] = ()) -> list[Term]:
    """Shift cyclically."""
    return [data(x).then(torch.roll, tuple(shifts), tuple(dims))]


@register_rule(
    aten.flip, aten.fliplr, aten.flipud, aten.rot90, aten.tril, aten.triu, aten.diagonal,
    aten.diagonal_copy, aten.diag_embed, aten.trace,
)  # fmt: skip
def rearrange(op: Op, x: fx.Node, *args: Any) -> list[Term]:
    """Move elements by a call that needs no more than its own arguments."""
    return [data(x).then(op.target, *args)]


@register_rule(aten.pixel_shuffle, aten.pixel_unshuffle, aten.im2col, aten.col2im, aten.unfold, aten.unfold_copy)
def regroup(op: Op, x: fx.Node, *args: Any) -> list[Term]:
    """Move windows and blocks of positions to channels and back."""
    return [data(x).then(op.target, *args)]


@register_rule(aten.channel_shuffle, aten.native_channel_shuffle)
def channel_shuffle(op: Op, x: fx.Node, groups: int) -> list[Term]:
    """Interleave the channels of several groups."""
    per_group = shape(x)[1] // groups
    split = data(x).then(torch.unflatten, 1, (groups, per_group)).then(torch.transpose, 1, 2)
    return [split.then(torch.flatten, 1, 2)]
