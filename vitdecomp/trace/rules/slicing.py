"""Operations that take a part of their operand (slices, splits, gathers) or put a frame around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vitdecomp.trace.rule import (
    Gate,
    Op,
    Term,
    by_shape,
    data,
    frozen,
    is_static,
    nonlinear,
    register_rule,
    shape,
    shape_of,
)

aten = torch.ops.aten
LAST = 2**63 - 1  # an open end, as torch.export writes it

nonlinear("lookup", aten.embedding, aten.embedding_bag)


@register_rule(aten.select, aten.select_copy)
def select(op: Op, x: fx.Node, dim: int, index: Any) -> list[Term]:
    """Take one slice, without its axis."""
    dim = dim % len(shape(x))
    if not isinstance(index, int) or not is_static(x, dim):
        return [data(x).then(torch.select, dim, index)]
    return _slice_at(op, x, dim, index % shape(x)[dim])


def _slice_at(op: Op, x: fx.Node, dim: int, index: int) -> list[Term]:
    return [data(x).then(torch.narrow, dim, index, 1).then(torch.reshape, op.size)]


@register_rule(aten.slice, aten.slice_copy)
def slice_(op: Op, x: fx.Node, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> list[Term]:
    """Take a range along an axis."""
    dim = dim % len(op.shape)
    end = None if end == LAST else end
    if step == 1 and ((start or 0, end) == (0, None) or (op.shape == shape(x) and is_static(x, dim))):
        return [data(x)]
    if step != 1 or not is_static(x, dim) or not isinstance(start, (int, type(None))):
        return [data(x).then(aten.slice.Tensor, dim, start, end, step)]
    total, start = shape(x)[dim], start or 0
    start = min(start, total) if start >= 0 else max(start + total, 0)
    return [data(x).then(torch.narrow, dim, start, op.shape[dim])]


@register_rule(aten.narrow, aten.narrow_copy)
def narrow(op: Op, x: fx.Node, dim: int, start: Any, length: Any) -> list[Term]:
    """Take a range along an axis."""
    dim = dim % len(op.shape)
    if isinstance(start, int) and start < 0 and is_static(x, dim):
        start += shape(x)[dim]
    return [data(x).then(torch.narrow, dim, start, length)]


@register_rule(aten.unbind, aten.unbind_copy)
def unbind(op: Op, x: fx.Node, dim: int = 0) -> list[Term]:
    """Take one of the slices along an axis."""
    return _slice_at(op, x, dim % len(shape(x)), op.index)


@register_rule(
    aten.split, aten.chunk, aten.unsafe_split, aten.unsafe_chunk, aten.tensor_split.sections,
    aten.tensor_split.indices, aten.split_copy, aten.split_with_sizes, aten.unsafe_split_with_sizes,
    aten.split_with_sizes_copy,
)  # fmt: skip
def split(op: Op, x: fx.Node, sections: Any, dim: int = 0) -> list[Term]:
    """Take one of several parts of an axis."""
    dim = dim % len(shape(x))
    if not is_static(x, dim) or not _known(sections):
        return [data(x).then(part, op.target, sections, dim, op.index)]
    lengths = [p.shape[dim] for p in op.target(torch.empty(shape(x), device="meta"), sections, dim)]
    return [data(x).then(torch.narrow, dim, sum(lengths[: op.index]), lengths[op.index])]


def _known(sections: Any) -> bool:
    return isinstance(sections, int) or (not isinstance(sections, fx.Node) and all(map(_known, sections)))


def part(x: Tensor, fn: Any, sections: Any, dim: int, index: int) -> Tensor:
    """Take one part of an axis whose length depends on the batch."""
    return fn(x, sections, dim)[index]  # type: ignore[no-any-return]


@register_rule(aten.index.Tensor, aten._unsafe_index)
def index(op: Op, x: fx.Node, indices: Sequence[Any]) -> list[Term]:
    """Index by frozen tensors (advanced indexing)."""
    return [data(x).then(take, tuple(indices))]


def take(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """x[indices]."""
    return x[tuple(slice(None) if i is None else i for i in indices)]


@register_rule(aten.index_select, aten.gather, aten.take_along_dim, aten.repeat_interleave.self_Tensor)
def gather(op: Op, x: fx.Node, *args: Any, **kwargs: Any) -> list[Term]:
    """Take slices or elements at frozen indices."""
    return [data(x).then(op.target, *args, **kwargs)]


@register_rule(aten.take)
def take_flat(op: Op, x: fx.Node, index: fx.Node) -> list[Term]:
    """Take elements at frozen flat positions."""
    return [data(x).then(torch.flatten).then(take, (index,))]


@register_rule(aten.masked_select)
def masked_select(op: Op, x: fx.Node, mask: fx.Node) -> list[Term]:
    """Take the elements where a frozen mask is set."""
    return [data(x).then(torch.masked_select, mask)]


@register_rule(aten.pad)
def pad(op: Op, x: fx.Node, widths: Sequence[Any], mode: str = "constant", value: Any = None) -> list[Term]:
    """Pad; a fill that is not zero is a constant of its own."""
    terms = [data(x).then(F.pad, tuple(widths), mode=mode)]
    if mode == "constant" and value:
        terms.append(frozen("padding", fill, Gate(shape_of, (x,)), tuple(widths), value, x))
    return terms


@register_rule(aten.constant_pad_nd)
def constant_pad(op: Op, x: fx.Node, widths: Sequence[Any], value: Any = 0) -> list[Term]:
    """Pad, as the decomposed operation writes it."""
    return pad(op, x, widths, "constant", value)


@by_shape
def fill(size: Sequence[int], widths: Sequence[int], value: Any, like: Tensor) -> Tensor:
    """Return the frame of a padding: the value outside, zero where the data goes."""
    return F.pad(like.new_zeros(tuple(size)), list(widths), value=value)


@register_rule(
    aten.reflection_pad1d, aten.reflection_pad2d, aten.reflection_pad3d, aten.replication_pad1d,
    aten.replication_pad2d, aten.replication_pad3d, aten._pad_circular,
)  # fmt: skip
def mirror_pad(op: Op, x: fx.Node, widths: Sequence[Any]) -> list[Term]:
    """Pad with the image's own border."""
    return [data(x).then(op.target, tuple(widths))]
