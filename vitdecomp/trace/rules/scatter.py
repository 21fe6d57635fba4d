"""A part of one operand overwritten by another, or added to: what is left, and the other in its place."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.rule import Gate, Op, Term, data, gate, register_rule, shape, varies

aten = torch.ops.aten

# How the part that an operation overwrites is read.
PART = {
    aten.select_scatter: aten.select.int,
    aten.diagonal_scatter: aten.diagonal.default,
}


@register_rule(*PART)
def scatter_part(op: Op, x: fx.Node, source: fx.Node, *place: Any) -> list[Term]:
    """Overwrite a slice or a diagonal."""
    return [data(x).then(erase, op.target, place), data(source).then(insert, op.target, op.size, place)]


def erase(x: Tensor, fn: Any, place: Sequence[Any]) -> Tensor:
    """x with zeros in the place that is overwritten."""
    part = PART[fn.overloadpacket](x, *place)
    return fn(x, torch.zeros_like(part), *place)  # type: ignore[no-any-return]


def insert(x: Tensor, fn: Any, size: Sequence[int], place: Sequence[Any]) -> Tensor:
    """x in its place, zeros elsewhere."""
    return fn(x.new_zeros(tuple(size)), x, *place)  # type: ignore[no-any-return]


@register_rule(aten.index_put, aten._unsafe_index_put)
def index_put(
    op: Op, x: fx.Node, indices: Sequence[Any], values: fx.Node, accumulate: bool = False
) -> list[Term] | None:
    """Overwrite (or add to) elements at frozen indices. A mask made of the input is an activation's."""
    if any(varies(i) and i.meta.get("trial_dtype") is torch.bool for i in indices):
        return None
    first = data(x) if accumulate else data(x).then(zero_at, tuple(indices))
    return [first, data(values).then(put_at, tuple(indices), op.size, accumulate)]


def zero_at(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """x with zeros at some indices."""
    return aten.index_put(x, list(indices), x.new_zeros(()))  # type: ignore[no-any-return]


def put_at(x: Tensor, indices: Sequence[Tensor | None], size: Sequence[int], accumulate: bool) -> Tensor:
    """x at some indices, zeros elsewhere."""
    return aten.index_put(x.new_zeros(tuple(size)), list(indices), x, accumulate)  # type: ignore[no-any-return]


@register_rule(aten.scatter.src, aten.scatter_add)
def scatter(op: Op, x: fx.Node, dim: int, index: fx.Node, source: fx.Node) -> list[Term]:
    """Overwrite (or add to) elements along an axis."""
    adds = op.target.overloadpacket is aten.scatter_add
    first = data(x) if adds else data(x).then(torch.scatter, dim, index, 0)
    return [first, data(source).then(scatter_in, op.target, dim, index, op.size)]


@register_rule(aten.scatter.value)
def scatter_value(op: Op, x: fx.Node, dim: int, index: fx.Node, value: Any) -> list[Term]:
    """Write a number along an axis."""
    covered = gate(scatter_ones, x, dim, index)
    return [data(x).then(torch.scatter, dim, index, 0), op.fit(data(value)).then(operator.mul, covered)]


def scatter_in(x: Tensor, fn: Any, dim: int, index: Tensor, size: Sequence[int]) -> Tensor:
    """x at some indices along an axis, zeros elsewhere."""
    return fn(x.new_zeros(tuple(size)), dim, index, x)  # type: ignore[no-any-return]


def scatter_ones(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """1 at some indices along an axis, 0 elsewhere."""
    return torch.zeros_like(x).scatter(dim, index, 1.0)


@register_rule(aten.scatter_reduce)
def scatter_reduce(
    op: Op, x: fx.Node, dim: int, index: fx.Node, source: fx.Node, reduce: str, include_self: bool = True
) -> list[Term] | None:
    """Sum or average elements along an axis (token merging)."""
    if reduce not in ("sum", "mean"):
        return None
    first = data(x) if include_self else data(x).then(torch.scatter, dim, index, 0)
    terms = [first, data(source).then(scatter_in, aten.scatter_add.default, dim, index, op.size)]
    if reduce == "sum":
        return terms
    share = gate(shares, x, dim, index, include_self)
    return [term.then(operator.mul, share) for term in terms]


def shares(x: Tensor, dim: int, index: Tensor, include_self: bool) -> Tensor:
    """1 / number of elements that are averaged at each place."""
    ones = torch.ones_like(index, dtype=x.dtype)
    count = torch.zeros_like(x).scatter_add(dim, index, ones) + (1 if include_self else 0)
    return 1 / count.clamp(min=1)


@register_rule(aten.index_add)
def index_add(op: Op, x: fx.Node, dim: int, index: fx.Node, source: fx.Node, alpha: Any = 1) -> list[Term]:
    """Add to slices at frozen indices."""
    return [data(x), data(source).then(slices_in, dim, index, op.size).then(operator.mul, alpha)]


@register_rule(aten.index_copy)
def index_copy(op: Op, x: fx.Node, dim: int, index: fx.Node | Gate, source: fx.Node) -> list[Term]:
    """Overwrite slices at frozen indices."""
    return [data(x).then(torch.index_fill, dim, index, 0), data(source).then(slices_in, dim, index, op.size)]


def slices_in(x: Tensor, dim: int, index: Tensor, size: Sequence[int]) -> Tensor:
    """Put slices at some indices along an axis, zeros elsewhere."""
    return x.new_zeros(tuple(size)).index_add(dim, index, x)


@register_rule(aten.slice_scatter)
def slice_scatter(
    op: Op, x: fx.Node, source: fx.Node, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> list[Term]:
    """Overwrite a range, with its indices counted out (torch.vmap miscounts open ends)."""
    return index_copy(op, x, dim, gate(counted, op.node, dim, start, end, step), source)


def counted(x: Tensor, dim: int, start: Any, end: Any, step: int) -> Tensor:
    """Return the indices of a range along an axis."""
    first, last, step = slice(start, end, step).indices(x.shape[dim])
    return torch.arange(first, last, step, device=x.device)


@register_rule(aten.index_fill.int_Scalar)
def index_fill(op: Op, x: fx.Node, dim: int, index: fx.Node, value: Any) -> list[Term]:
    """Overwrite slices with a number."""
    outside = gate(outside_slices, x, dim, index)
    return [
        data(x).then(operator.mul, outside),
        op.fit(data(value)).then(operator.mul, gate(torch.rsub, outside, 1)),
    ]


def outside_slices(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """0 in some slices, 1 elsewhere."""
    return torch.ones_like(x).index_fill(dim, index, 0)


@register_rule(aten.masked_scatter)
def masked_scatter(op: Op, x: fx.Node, mask: fx.Node, source: fx.Node) -> list[Term] | None:
    """Put elements of one operand, in order, where a constant mask is set in the other."""
    if varies(mask) or shape(x) != op.shape:
        return None
    return [data(x).then(torch.masked_fill, mask, 0), data(source).then(scatter_masked, mask, op.size)]


def scatter_masked(x: Tensor, mask: Tensor, size: Sequence[int]) -> Tensor:
    """Put elements, in order, where a mask is set, zeros elsewhere."""
    places = mask.expand(tuple(size)).flatten().nonzero().squeeze(1)
    flat = x.new_zeros(torch.Size(size).numel())
    return flat.index_add(0, places, x.flatten()[: len(places)]).reshape(tuple(size))
