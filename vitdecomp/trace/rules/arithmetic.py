"""Sums, scalings and products."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.rule import Op, Term, broadcast, data, gate, register_opening, register_rule, shape, varies
from vitdecomp.trace.rules.activation import is_activation

aten = torch.ops.aten


@register_rule(aten.add)
def add(op: Op, a: Any, b: Any, alpha: Any = 1, **_: Any) -> list[Term]:
    """a + alpha b."""
    return [op.fit(data(a)), op.fit(_scaled(b, alpha))]


@register_rule(aten.sub, aten.subtract)
def sub(op: Op, a: Any, b: Any, alpha: Any = 1, **_: Any) -> list[Term]:
    """a - alpha b."""
    return [op.fit(data(a)), op.fit(_scaled(b, -alpha))]


@register_rule(aten.rsub)
def rsub(op: Op, a: Any, b: Any, alpha: Any = 1, **_: Any) -> list[Term]:
    """b - alpha a."""
    return [op.fit(data(b)), op.fit(_scaled(a, -alpha))]


def _scaled(x: Any, factor: Any) -> Term:
    return data(x) if factor == 1 else data(x).then(operator.mul, factor)


@register_rule(aten.neg)
def neg(op: Op, x: fx.Node) -> list[Term]:
    """-x."""
    return [data(x).then(operator.neg)]


@register_rule(aten.mul, aten.multiply)
def mul(op: Op, a: Any, b: Any) -> list[Term] | None:
    """A product with a constant, or with a smaller operand (the gate). Equal sizes are a source."""
    factors = _data_and_gate(a, b)
    return None if factors is None else [data(factors[0]).then(operator.mul, factors[1])]


def _data_and_gate(a: Any, b: Any) -> tuple[Any, Any] | None:
    """Which factor is the data; `None` if both depend on the image and neither is the smaller one."""
    if not (varies(a) and varies(b)):
        return (a, b) if varies(a) else (b, a)
    sizes = _numel(a), _numel(b)
    if sizes[0] == sizes[1]:
        return None
    return (a, b) if sizes[0] > sizes[1] else (b, a)


def _numel(node: fx.Node) -> int:
    return torch.Size(shape(node)).numel()


@register_opening(aten.mul, aten.multiply)
def open_product(op: Op, a: fx.Node, b: fx.Node) -> list[Term]:
    """x * g(x): the factor that comes out of an activation is the gate, else the second one."""
    x, g = (b, a) if is_activation(a) and not is_activation(b) else (a, b)
    return [data(x).then(operator.mul, g)]


@register_rule(aten.div, aten.divide, aten.true_divide)
def div(op: Op, a: Any, b: Any, rounding_mode: str | None = None) -> list[Term] | None:
    """a / b, linear in the numerator."""
    if rounding_mode is not None or not varies(a):
        return None
    return [op.fit(data(a)).then(operator.truediv, b)]


@register_rule(aten.addcmul)
def addcmul(op: Op, x: Any, a: Any, b: Any, value: Any = 1) -> list[Term] | None:
    """x + value a b."""
    factors = _data_and_gate(a, b)
    if factors is None:
        return None
    product = data(factors[0]).then(operator.mul, factors[1])
    return [op.fit(data(x)), product.then(operator.mul, value).then(broadcast, op.size)]


@register_rule(aten.lerp)
def lerp(op: Op, start: Any, end: Any, weight: Any) -> list[Term] | None:
    """start + weight (end - start), with a constant weight."""
    if varies(weight):
        return None
    rest = gate(operator.sub, 1, weight)
    return [op.fit(data(start)).then(operator.mul, rest), op.fit(data(end)).then(operator.mul, weight)]


@register_rule(aten.sum.dim_IntList, aten.mean.dim)
def reduce(op: Op, x: fx.Node, dim: Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> list[Term]:
    """Sum or mean over some axes."""
    axes = tuple(range(len(shape(x)))) if not dim else tuple(d % len(shape(x)) for d in dim)
    fn = torch.sum if op.target.overloadpacket is aten.sum else torch.mean
    return [data(x).then(fn, dim=axes, keepdim=keepdim)]


@register_rule(aten.cumsum)
def cumsum(op: Op, x: fx.Node, dim: int, **_: Any) -> list[Term]:
    """Running sum along an axis."""
    return [data(x).then(torch.cumsum, dim=dim)]


@register_rule(
    aten._to_copy, aten.to, aten.type_as, aten.alias, aten.detach, aten.clone, aten.contiguous, aten.dropout,
    aten.feature_dropout, aten.alpha_dropout, aten.lift_fresh_copy, aten.detach_copy, aten.alias_copy,
)  # fmt: skip
def keep(op: Op, x: fx.Node, *_: Any, **__: Any) -> list[Term]:
    """Copies and casts; dropout, which does nothing in evaluation."""
    dtype = op.node.meta.get("trial_dtype")
    return [data(x)] if dtype == x.meta.get("trial_dtype") else [data(x).then(cast, dtype)]


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Another number format: linear but for rounding."""
    return x.to(dtype)


@register_rule(aten.copy)
def copy(op: Op, target: Any, source: Any, *_: Any) -> list[Term]:
    """The source, in the shape of the target."""
    return [op.fit(data(source))]
