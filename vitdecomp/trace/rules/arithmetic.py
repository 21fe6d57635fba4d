"""Sums, scalings and products."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.rule import (
    Op,
    Term,
    data,
    gate,
    register_opening,
    register_rule,
    shape,
    varies,
)
from vitdecomp.trace.rules.activation import is_activation
from vitdecomp.trace.rules.gates import data_and_gate

aten = torch.ops.aten


@register_rule(aten.add)
def add(op: Op, a: Any, b: Any, alpha: Any = 1) -> list[Term]:
    """Add: a + alpha b."""
    return [op.fit(data(a)), op.fit(_scaled(b, alpha))]


@register_rule(aten.sub, aten.subtract)
def sub(op: Op, a: Any, b: Any, alpha: Any = 1) -> list[Term]:
    """Subtract: a - alpha b."""
    return [op.fit(data(a)), op.fit(_scaled(b, -alpha))]


@register_rule(aten.rsub)
def rsub(op: Op, a: Any, b: Any, alpha: Any = 1) -> list[Term]:
    """b - alpha a."""
    return [op.fit(data(b)), op.fit(_scaled(a, -alpha))]


def _scaled(x: Any, factor: Any) -> Term:
    return data(x) if factor == 1 else data(x).then(operator.mul, factor)


@register_rule(aten.neg, aten.negative)
def neg(op: Op, x: fx.Node) -> list[Term]:
    """-x."""
    return [data(x).then(operator.neg)]  # pyright: ignore[reportArgumentType]


@register_rule(aten.mul, aten.multiply)
def mul(op: Op, a: Any, b: Any) -> list[Term] | None:
    """Multiply by a constant, or by a smaller operand (the gate); a product of equal sizes is a source."""
    factors = data_and_gate(a, b)
    return None if factors is None else [op.fit(data(factors[0])).then(operator.mul, factors[1])]


@register_opening(aten.mul, aten.multiply)
def open_product(op: Op, a: fx.Node, b: fx.Node) -> list[Term]:
    """x * g(x): the factor that comes out of an activation is the gate, else the second one."""
    x, g = (b, a) if is_activation(a) and not is_activation(b) else (a, b)
    return [op.fit(data(x)).then(operator.mul, g)]


@register_rule(aten.div, aten.divide, aten.true_divide)
def div(op: Op, a: Any, b: Any, rounding_mode: str | None = None) -> list[Term] | None:
    """Divide a by b, linear in the numerator, unless the denominator is as large and both depend on the input."""
    if rounding_mode is not None or not varies(a) or data_and_gate(a, b) != (a, b):
        return None
    return [op.fit(data(a)).then(operator.truediv, b)]


@register_opening(aten.div, aten.divide, aten.true_divide)
def open_quotient(op: Op, a: Any, b: Any, rounding_mode: str | None = None) -> list[Term] | None:
    """x / g(x), with the denominator frozen."""
    if rounding_mode is not None or not varies(a):
        return None
    return [op.fit(data(a)).then(operator.truediv, b)]


@register_rule(aten.addcmul)
def addcmul(op: Op, x: Any, a: Any, b: Any, value: Any = 1) -> list[Term] | None:
    """x + value a b."""
    factors = data_and_gate(a, b)
    if factors is None:
        return None
    product = op.fit(data(factors[0])).then(operator.mul, factors[1])
    return [op.fit(data(x)), product.then(operator.mul, value)]


@register_rule(aten.addcdiv)
def addcdiv(op: Op, x: Any, a: Any, b: Any, value: Any = 1) -> list[Term] | None:
    """x + value a / b."""
    if varies(b) and data_and_gate(a, b) != (a, b):
        return None
    return [op.fit(data(x)), op.fit(data(a)).then(operator.truediv, b).then(operator.mul, value)]


@register_rule(aten.lerp)
def lerp(op: Op, start: Any, end: Any, weight: Any) -> list[Term] | None:
    """start + weight (end - start), with a constant or smaller weight."""
    if varies(weight) and any(varies(x) and data_and_gate(x, weight) != (x, weight) for x in (start, end)):
        return None
    rest = gate(operator.sub, 1, weight)
    return [op.fit(data(start)).then(operator.mul, rest), op.fit(data(end)).then(operator.mul, weight)]


@register_rule(aten.sum, aten.mean)
def reduce(op: Op, x: fx.Node, dim: Any = None, keepdim: bool = False, dtype: torch.dtype | None = None) -> list[Term]:
    """Sum or average over some axes, or over all."""
    dims = range(len(shape(x))) if dim is None or dim == [] else dim
    fn = torch.sum if op.target.overloadpacket is aten.sum else torch.mean
    return [data(x).then(fn, dim=tuple(d % len(shape(x)) for d in dims), keepdim=keepdim)]


@register_rule(aten.cumsum)
def cumsum(op: Op, x: fx.Node, dim: int, dtype: torch.dtype | None = None) -> list[Term]:
    """Sum along an axis, up to each element."""
    return [data(x).then(torch.cumsum, dim=dim)]


@register_rule(aten.diff)
def diff(op: Op, x: fx.Node, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> list[Term] | None:
    """Subtract neighbors."""
    return [data(x).then(torch.diff, n, dim)] if prepend is None and append is None else None


@register_rule(
    aten._to_copy, aten.to, aten.type_as, aten.alias, aten.detach, aten.clone, aten.contiguous,
    aten.positive, aten.lift_fresh_copy, aten.lift_fresh, aten.detach_copy, aten.alias_copy,
    aten.resolve_conj, aten.resolve_neg,
)  # fmt: skip
def keep(op: Op, x: fx.Node, *_: Any, **__: Any) -> list[Term]:
    """Copy, or cast: the linear map is in one format (see `Recorder`), so that only real numbers become complex."""
    formats = [node.meta.get("trial_dtype", torch.float32).is_complex for node in (x, op.node)]
    return [data(x).then(cast, op.node.meta["trial_dtype"])] if formats == [False, True] else [data(x)]


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast to another number format: linear but for rounding."""
    return x.to(dtype)


@register_rule(aten.dropout, aten.feature_dropout, aten.alpha_dropout, aten.feature_alpha_dropout, aten.native_dropout)
def dropout(op: Op, x: fx.Node, p: float, train: bool | None) -> list[Term] | None:
    """Pass x on: dropout does nothing in evaluation."""
    return None if train or op.index else [data(x)]


@register_rule(aten.copy)
def copy(op: Op, target: Any, source: fx.Node, *_: Any) -> list[Term]:
    """Copy the source into the shape of the target."""
    return [op.fit(term) for term in keep(op, source)]


@register_rule(aten.fill)
def fill(op: Op, x: fx.Node, value: Any) -> list[Term]:
    """Fill with one number: a constant."""
    return [op.fit(data(value))]
