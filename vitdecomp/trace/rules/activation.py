"""Where a path ends by rule: activations, softmax, statistics. And how a trunk activation is walked through."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.rule import NONLINEAR, Op, Term, data, frozen, gate, lookup, nonlinear, register_opening
from vitdecomp.trace.rule import register_rule, varies

aten = torch.ops.aten

ZERO_AT_ZERO = (
    aten.gelu, aten.silu, aten.relu, aten.hardswish, aten.tanh, aten.leaky_relu, aten.elu, aten.mish, aten.selu,
    aten.celu, aten.relu6, aten.prelu, aten.erf, aten.hardtanh, aten.square, aten.rrelu,
)  # fmt: skip
nonlinear("activation", *ZERO_AT_ZERO, aten.sigmoid, aten.hardsigmoid, aten.softplus, aten.log_sigmoid, aten.glu)
nonlinear("softmax", aten.softmax, aten._softmax, aten.log_softmax, aten._log_softmax, aten.logsumexp)
nonlinear(
    "statistic", aten.var, aten.std, aten.var_mean, aten.std_mean, aten.linalg_vector_norm, aten.norm, aten.prod,
    aten.cumprod, aten.linalg_norm, aten.argmax, aten.argmin, aten.cdist, aten.sort, aten.argsort,
)  # fmt: skip


def is_activation(value: Any) -> bool:
    """Whether a value comes straight out of an activation."""
    return isinstance(value, fx.Node) and lookup(NONLINEAR, value.target) == "activation"


@register_opening(*ZERO_AT_ZERO)
def through_activation(op: Op, x: fx.Node, *_: Any, **__: Any) -> list[Term]:
    """f(x) = x * (f(x) / x), with the ratio frozen."""
    return [data(x).then(operator.mul, gate(ratio, op.node, x))]


def ratio(y: Tensor, x: Tensor) -> Tensor:
    """f(x) / x, and 0 where x is 0 (for functions that are 0 there)."""
    zero = x == 0
    return torch.where(zero, torch.zeros_like(y), y / torch.where(zero, torch.ones_like(x), x))


@register_rule(aten.clamp, aten.clip)
def clamp(op: Op, x: fx.Node, low: Any = None, high: Any = None) -> list[Term] | None:
    """A two-sided clamp: a frozen mask, and the saturated remainder. A one-sided one is a ReLU: a source."""
    if low is None or high is None or varies(low) or varies(high):
        return None
    return [
        data(x).then(operator.mul, gate(inside, x, low, high)),
        frozen("saturated", saturated, x, low, high),
    ]


def inside(x: Tensor, low: Any, high: Any) -> Tensor:
    """1 where the clamp changes nothing."""
    return ((x >= low) & (x <= high)).to(x.dtype)


def saturated(x: Tensor, low: Any, high: Any) -> Tensor:
    """What the clamp returns where it cuts off, 0 elsewhere."""
    return torch.clamp(x, low, high) * (1 - inside(x, low, high))
