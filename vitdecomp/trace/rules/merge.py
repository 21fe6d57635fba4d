"""Operations that put several operands together: each operand in its own place, zeros around it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vitdecomp.trace.rule import (
    Gate,
    Op,
    Term,
    data,
    frozen,
    gate,
    is_static,
    nonlinear,
    register_opening,
    register_rule,
    shape,
)
from vitdecomp.trace.rules.gates import is_elementwise

aten = torch.ops.aten

nonlinear("mask", aten.where.Scalar)


@register_rule(aten.cat, aten.concat, aten.concatenate)
def cat(op: Op, tensors: Sequence[fx.Node], dim: int = 0) -> list[Term]:
    """Concatenate: a sum of operands, each padded with zeros to the full length."""
    dim = dim % len(op.shape)
    tensors = [x for x in tensors if shape(x) != (0,)]
    if not is_static(op.node, dim):
        return [data(x).then(embed, dim, *_runtime_place(tensors, i, dim)) for i, x in enumerate(tensors)]
    starts = list(accumulate((shape(x)[dim] for x in tensors), initial=0))
    return [data(x).then(embed, dim, start, starts[-1]) for x, start in zip(tensors, starts, strict=False)]


def _runtime_place(tensors: Sequence[fx.Node], i: int, dim: int) -> tuple[Gate, Gate]:
    """Return where an operand begins, and the whole length, along an axis that depends on the batch."""
    return gate(length, dim, *tensors[:i]), gate(length, dim, *tensors)


def length(dim: int, *tensors: Tensor) -> int:
    """Return the total length of some tensors along an axis."""
    return sum(x.shape[dim] for x in tensors)


@register_rule(aten.hstack, aten.vstack, aten.dstack, aten.column_stack, aten.row_stack)
def stack_along(op: Op, tensors: Sequence[fx.Node]) -> list[Term] | None:
    """Concatenate along the axis that the operation's name says, for operands that have that axis."""
    name = op.target.overloadpacket
    dim = 0 if name in (aten.vstack, aten.row_stack) else 2 if name is aten.dstack else 1
    return cat(op, tensors, dim) if all(len(shape(x)) > dim for x in tensors) else None


@register_rule(aten.stack)
def stack(op: Op, tensors: Sequence[fx.Node], dim: int = 0) -> list[Term]:
    """Stack: concatenate along a new axis."""
    dim, total = dim % len(op.shape), len(tensors)
    return [data(x).then(torch.unsqueeze, dim).then(embed, dim, i, total) for i, x in enumerate(tensors)]


def embed(x: Tensor, dim: int, start: int, total: int) -> Tensor:
    """x at `start` along an axis of length `total`, zeros elsewhere."""
    before_after = (start, total - start - x.shape[dim])
    return F.pad(x, (0, 0) * (x.ndim - 1 - dim) + before_after)


@register_rule(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf)
def where(op: Op, mask: fx.Node, a: Any, b: Any) -> list[Term] | None:
    """Choose either operand by a frozen mask. A mask that the image makes for each element is an activation's."""
    return None if is_elementwise(op, mask) else either(op, mask, a, b)


@register_opening(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf)
def either(op: Op, mask: fx.Node, a: Any, b: Any) -> list[Term]:
    """Choose either operand by a frozen mask."""
    return [op.fit(data(a)).then(keep, mask), op.fit(data(b)).then(drop, mask)]


@register_rule(aten.masked_fill)
def masked_fill(op: Op, x: fx.Node, mask: fx.Node, value: Any) -> list[Term] | None:
    """Put a value in place of what the mask covers."""
    return None if is_elementwise(op, mask) else fill_masked(op, x, mask, value)


@register_opening(aten.masked_fill)
def fill_masked(op: Op, x: fx.Node, mask: fx.Node, value: Any) -> list[Term]:
    """Put a value in place of what a frozen mask covers."""
    return either(op, mask, value, x)


def keep(x: Tensor, mask: Tensor) -> Tensor:
    """x where the mask is set, zero elsewhere, even where x is not a number."""
    return torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))


def drop(x: Tensor, mask: Tensor) -> Tensor:
    """x where the mask is not set, zero elsewhere, even where x is not a number."""
    return torch.where(mask, torch.zeros((), dtype=x.dtype, device=x.device), x)


@register_rule(aten.nan_to_num)
def nan_to_num(op: Op, x: fx.Node, *numbers: Any) -> list[Term]:
    """Keep what is finite, and add the numbers in place of the rest."""
    return [data(x).then(keep, gate(torch.isfinite, x)), frozen("replaced", replaced, x, *numbers)]


def replaced(x: Tensor, *numbers: Any) -> Tensor:
    """Return what nan_to_num puts in place of what is not finite, 0 elsewhere."""
    return drop(torch.nan_to_num(x, *numbers), torch.isfinite(x))
