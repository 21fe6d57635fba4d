"""Operations that only move elements: views, permutations, slices, paddings, gathers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vitdecomp.trace.rule import Gate, Op, Term, broadcast, data, is_static, register_rule, shape, shape_of

aten = torch.ops.aten


@register_rule(
    aten.view, aten._unsafe_view, aten.reshape, aten.flatten, aten.unflatten, aten.squeeze, aten.unsqueeze,
    aten.view_as, aten._reshape_alias, aten.reshape_as, aten.view_copy, aten.unsqueeze_copy, aten.squeeze_copy,
    aten.atleast_2d, aten.atleast_3d,
)  # fmt: skip
def view(op: Op, x: fx.Node, *_: Any, **__: Any) -> list[Term]:
    """Another shape, the same order of elements."""
    return [op.reshaped(x)]


@register_rule(aten.permute, aten.permute_copy)
def permute(op: Op, x: fx.Node, dims: Sequence[int]) -> list[Term]:
    """Another order of axes."""
    return [data(x).then(torch.permute, tuple(d % len(dims) for d in dims))]


@register_rule(aten.transpose, aten.swapaxes, aten.swapdims, aten.transpose_copy)
def transpose(op: Op, x: fx.Node, a: int, b: int) -> list[Term]:
    """Two axes change places."""
    dims = list(range(len(op.shape)))
    dims[a], dims[b] = dims[b], dims[a]
    return permute(op, x, dims)


@register_rule(aten.t, aten.mT, aten.numpy_T, aten.adjoint)
def last_two(op: Op, x: fx.Node) -> list[Term]:
    """Matrix transpose."""
    return transpose(op, x, -1, -2) if len(op.shape) > 1 else [data(x)]


@register_rule(aten.movedim, aten.moveaxis)
def movedim(op: Op, x: fx.Node, source: Any, target: Any) -> list[Term]:
    """Some axes move to other places."""
    order = torch.empty(shape(x), device="meta").movedim(source, target)
    strides = torch.empty(shape(x), device="meta").stride()
    return permute(op, x, _order(strides, order.stride(), shape(x), order.shape))


def _order(old: Sequence[int], new: Sequence[int], old_shape: Sequence[int], new_shape: Sequence[int]) -> list[int]:
    """Which old axis each new one is, matched by stride and size."""
    free = list(range(len(old)))
    dims = []
    for stride, size in zip(new, new_shape, strict=True):
        axis = next(a for a in free if old[a] == stride and old_shape[a] == size)
        free.remove(axis)
        dims.append(axis)
    return dims


@register_rule(aten.expand, aten.expand_as, aten.broadcast_to, aten.expand_copy)
def expand(op: Op, x: fx.Node, *_: Any, **__: Any) -> list[Term]:
    """Repetition without a copy."""
    return [data(x).then(broadcast, op.size)]


@register_rule(aten.repeat)
def repeat(op: Op, x: fx.Node, repeats: Sequence[Any]) -> list[Term]:
    """Tiling."""
    return [data(x).then(torch.Tensor.repeat, tuple(repeats))]


@register_rule(aten.tile)
def tile(op: Op, x: fx.Node, repeats: Sequence[Any]) -> list[Term]:
    """Tiling."""
    return [data(x).then(torch.tile, tuple(repeats))]


@register_rule(aten.repeat_interleave.self_int)
def repeat_interleave(op: Op, x: fx.Node, repeats: Any, dim: int | None = None, **_: Any) -> list[Term]:
    """Every slice several times in a row."""
    return [data(x).then(torch.repeat_interleave, repeats, dim=dim)]


@register_rule(aten.select, aten.select_copy)
def select(op: Op, x: fx.Node, dim: int, index: Any) -> list[Term]:
    """One slice, without its axis."""
    if not isinstance(index, int):
        return [data(x).then(torch.select, dim, index)]
    return [data(x).then(torch.narrow, dim % len(shape(x)), index % shape(x)[dim], 1).then(torch.reshape, op.size)]


@register_rule(aten.slice, aten.slice_copy)
def slice_(op: Op, x: fx.Node, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> list[Term]:
    """A range along an axis."""
    dim = dim % len(op.shape)
    if op.shape == shape(x) and step == 1:
        return [data(x)]
    if not is_static(x, dim) or step != 1 or not isinstance(start, (int, type(None))):
        return [data(x).then(aten.slice.Tensor, dim, start, end, step)]
    start = start or 0
    start = max(start + shape(x)[dim], 0) if start < 0 else start
    return [data(x).then(torch.narrow, dim, start, op.shape[dim])]


@register_rule(aten.narrow, aten.narrow_copy)
def narrow(op: Op, x: fx.Node, dim: int, start: Any, length: Any) -> list[Term]:
    """A range along an axis."""
    return [data(x).then(torch.narrow, dim % len(op.shape), start, length)]


@register_rule(aten.unbind, aten.unbind_copy)
def unbind(op: Op, x: fx.Node, dim: int = 0) -> list[Term]:
    """One of the slices along an axis."""
    return [data(x).then(torch.narrow, dim % len(shape(x)), op.index, 1).then(torch.reshape, op.size)]


@register_rule(aten.split, aten.chunk, aten.unsafe_split, aten.unsafe_chunk, aten.tensor_split, aten.split_copy)
def split(op: Op, x: fx.Node, sections: Any, dim: int = 0) -> list[Term]:
    """One of several parts of an axis."""
    if isinstance(sections, (list, tuple)) and op.target.overloadpacket is not aten.tensor_split:
        return split_with_sizes(op, x, sections, dim)
    if not is_static(x, dim):
        return [data(x).then(part, op.target, sections, dim, op.index)]
    parts: list[Tensor] = op.call.target(torch.empty(shape(x), device="meta"), sections, dim)  # type: ignore[operator]
    return _part(op, x, [p.shape[dim] for p in parts], dim)


def part(x: Tensor, fn: Any, sections: Any, dim: int, index: int) -> Tensor:
    """One part of an axis whose length depends on the batch."""
    return fn(x, sections, dim)[index]  # type: ignore[no-any-return]


@register_rule(aten.split_with_sizes, aten.unsafe_split_with_sizes, aten.split_with_sizes_copy)
def split_with_sizes(op: Op, x: fx.Node, sizes: Sequence[int], dim: int = 0) -> list[Term]:
    """One of several parts of given sizes."""
    if not all(isinstance(size, int) for size in sizes):
        return [data(x).then(part, op.target, tuple(sizes), dim, op.index)]
    return _part(op, x, sizes, dim)


def _part(op: Op, x: fx.Node, sizes: Sequence[int], dim: int) -> list[Term]:
    return [data(x).then(torch.narrow, dim % len(shape(x)), sum(sizes[: op.index]), sizes[op.index])]


@register_rule(aten.pad, aten.constant_pad_nd)
def pad(op: Op, x: fx.Node, widths: Sequence[Any], mode: Any = "constant", value: Any = None) -> list[Term]:
    """Padding; a fill that is not zero is a constant of its own."""
    if not isinstance(mode, str):
        mode, value = "constant", mode
    widths = tuple(widths)
    terms = [data(x).then(F.pad, widths, mode=mode)]
    if mode == "constant" and value:
        terms.append(Term(Gate(fill, (Gate(shape_of, (x,)), widths, value, x)), label="padding"))
    return terms


def fill(size: Sequence[int], widths: Sequence[int], value: float, like: Tensor) -> Tensor:
    """The frame of a padding: the value outside, zero where the data goes."""
    return F.pad(like.new_zeros(tuple(size)), list(widths), value=value)


@register_rule(aten.reflection_pad1d, aten.reflection_pad2d, aten.replication_pad1d, aten.replication_pad2d)
def mirror_pad(op: Op, x: fx.Node, widths: Sequence[Any]) -> list[Term]:
    """Padding with the image's own border."""
    return [data(x).then(op.target, tuple(widths))]


@register_rule(aten.roll)
def roll(op: Op, x: fx.Node, shifts: Sequence[Any], dims: Sequence[int] = ()) -> list[Term]:
    """A cyclic shift."""
    return [data(x).then(torch.roll, tuple(shifts), tuple(dims))]


@register_rule(aten.flip, aten.tril, aten.triu, aten.rot90, aten.diagonal)
def rearrange(op: Op, x: fx.Node, *args: Any) -> list[Term]:
    """Moves that need no more than their own arguments."""
    return [data(x).then(op.target, *args)]


@register_rule(aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle, aten.im2col, aten.col2im)
def regroup(op: Op, x: fx.Node, *args: Any) -> list[Term]:
    """Blocks of positions to channels and back."""
    return [data(x).then(op.target, *args)]


@register_rule(aten.unfold)
def unfold(op: Op, x: fx.Node, *args: Any) -> list[Term]:
    """Sliding windows along an axis."""
    return [data(x).then(op.target, *args)]


@register_rule(aten.index.Tensor, aten._unsafe_index)
def index(op: Op, x: fx.Node, indices: Sequence[Any]) -> list[Term]:
    """Advanced indexing; the indices are frozen."""
    return [data(x).then(take, tuple(indices))]


def take(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """x[indices]."""
    return x[tuple(slice(None) if i is None else i for i in indices)]


@register_rule(aten.index_select, aten.gather, aten.take_along_dim)
def gather(op: Op, x: fx.Node, *args: Any, **kwargs: Any) -> list[Term]:
    """Slices or elements at frozen indices."""
    return [data(x).then(op.target, *args, **kwargs)]
