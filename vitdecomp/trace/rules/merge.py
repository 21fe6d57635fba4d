"""Operations that put several operands together: each operand in its own place, zeros around it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vitdecomp.trace.rule import Gate, Op, Term, data, gate, is_static, register_rule, shape

aten = torch.ops.aten


@register_rule(aten.cat, aten.concat, aten.concatenate)
def cat(op: Op, tensors: Sequence[fx.Node], dim: int = 0) -> list[Term]:
    """Concatenation: a sum of operands, each padded with zeros to the full length."""
    dim = dim % len(op.shape)
    tensors = [x for x in tensors if shape(x) != (0,)]
    if not is_static(op.node, dim):
        return [data(x).then(embed, dim, *_runtime_place(tensors, i, dim)) for i, x in enumerate(tensors)]
    starts = list(accumulate((shape(x)[dim] for x in tensors), initial=0))
    return [data(x).then(embed, dim, start, starts[-1]) for x, start in zip(tensors, starts, strict=False)]


def _runtime_place(tensors: Sequence[fx.Node], i: int, dim: int) -> tuple[Gate, Gate]:
    """Where an operand begins, and the whole length, along an axis that depends on the batch."""
    return gate(length, dim, *tensors[:i]), gate(length, dim, *tensors)


def length(dim: int, *tensors: Tensor) -> int:
    """Total length of some tensors along an axis."""
    return sum(x.shape[dim] for x in tensors)


@register_rule(aten.stack)
def stack(op: Op, tensors: Sequence[fx.Node], dim: int = 0) -> list[Term]:
    """Stacking: the same with a new axis."""
    dim, total = dim % len(op.shape), len(tensors)
    return [data(x).then(torch.unsqueeze, dim).then(embed, dim, i, total) for i, x in enumerate(tensors)]


def embed(x: Tensor, dim: int, start: int, total: int) -> Tensor:
    """x at `start` along an axis of length `total`, zeros elsewhere."""
    before_after = (start, total - start - x.shape[dim])
    return F.pad(x, (0, 0) * (x.ndim - 1 - dim) + before_after)


@register_rule(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar)
def where(op: Op, mask: fx.Node, a: Any, b: Any) -> list[Term]:
    """Either operand, by a frozen mask."""
    return [op.fit(data(a)).then(keep, mask), op.fit(data(b)).then(drop, mask)]


@register_rule(aten.masked_fill)
def masked_fill(op: Op, x: fx.Node, mask: fx.Node, value: Any) -> list[Term]:
    """A value in place of what the mask covers."""
    return [op.fit(data(x)).then(drop, mask), op.fit(data(value)).then(keep, mask)]


def keep(x: Tensor, mask: Tensor) -> Tensor:
    """x where the mask is set, zero elsewhere."""
    return torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))


def drop(x: Tensor, mask: Tensor) -> Tensor:
    """x where the mask is not set, zero elsewhere."""
    return torch.where(mask, torch.zeros((), dtype=x.dtype, device=x.device), x)


@register_rule(aten.slice_scatter, aten.select_scatter)
def scatter_range(op: Op, x: fx.Node, source: fx.Node, *place: Any) -> list[Term]:
    """A part of one operand overwritten by the other."""
    return [data(x).then(erase, op.target, place), data(source).then(insert, op.target, op.size, place)]


def erase(x: Tensor, fn: Any, place: Sequence[Any]) -> Tensor:
    """x with zeros in the place that is overwritten."""
    part = fn.overloadpacket
    pick = torch.ops.aten.slice.Tensor if part is torch.ops.aten.slice_scatter else torch.ops.aten.select.int
    return fn(x, torch.zeros_like(pick(x, *place)), *place)  # type: ignore[no-any-return]


def insert(x: Tensor, fn: Any, size: Sequence[int], place: Sequence[Any]) -> Tensor:
    """x in its place, zeros elsewhere."""
    return fn(x.new_zeros(tuple(size)), x, *place)  # type: ignore[no-any-return]


@register_rule(aten.index_put)
def index_put(op: Op, x: fx.Node, indices: Sequence[Any], values: fx.Node, accumulate: bool = False) -> list[Term]:
    """Elements overwritten (or added to) at frozen indices."""
    first = data(x) if accumulate else data(x).then(zero_at, tuple(indices))
    return [first, data(values).then(put_at, tuple(indices), op.size, accumulate)]


def zero_at(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """x with zeros at some indices."""
    return torch.index_put(x, _full(indices), x.new_zeros(()))


def put_at(x: Tensor, indices: Sequence[Tensor | None], size: Sequence[int], accumulate: bool) -> Tensor:
    """x at some indices, zeros elsewhere."""
    return torch.index_put(x.new_zeros(tuple(size)), _full(indices), x, accumulate=accumulate)


def _full(indices: Sequence[Tensor | None]) -> Any:
    return [i if i is not None else slice(None) for i in indices]


@register_rule(aten.scatter.src, aten.scatter_add)
def scatter(op: Op, x: fx.Node, dim: int, index: fx.Node, source: fx.Node) -> list[Term]:
    """Elements overwritten (or added to) along an axis."""
    adds = op.target.overloadpacket is aten.scatter_add
    first = data(x) if adds else data(x).then(torch.scatter, dim, index, 0)
    return [first, data(source).then(scatter_in, dim, index, op.size)]


def scatter_in(x: Tensor, dim: int, index: Tensor, size: Sequence[int]) -> Tensor:
    """x at some indices along an axis, zeros elsewhere."""
    return x.new_zeros(tuple(size)).scatter_add(dim, index, x)
