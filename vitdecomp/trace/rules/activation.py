"""Where a path ends by rule: activations, softmax, statistics. How a trunk activation is walked through."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.rule import (
    NONLINEAR,
    Op,
    Term,
    data,
    frozen,
    gate,
    lookup,
    nonlinear,
    register_opening,
    register_rule,
    varies,
)

aten = torch.ops.aten

ZERO_AT_ZERO = (
    aten.gelu, aten.silu, aten.relu, aten.hardswish, aten.tanh, aten.leaky_relu, aten.elu, aten.mish,
    aten.selu, aten.celu, aten.relu6, aten.prelu, aten._prelu_kernel, aten.erf, aten.hardtanh,
    aten.square, aten.rrelu, aten.hardshrink, aten.softshrink,
)  # fmt: skip
nonlinear(
    "activation", *ZERO_AT_ZERO, aten.sigmoid, aten.hardsigmoid, aten.softplus, aten.log_sigmoid,
    aten.glu, aten.threshold, aten.rrelu_with_noise, aten.log_sigmoid_forward,
)  # fmt: skip
nonlinear(
    "softmax", aten.softmax, aten._softmax, aten._safe_softmax, aten.log_softmax, aten._log_softmax,
    aten.logsumexp, aten.logcumsumexp,
)  # fmt: skip
nonlinear(
    "statistic", aten.var, aten.std, aten.var_mean, aten.std_mean, aten.linalg_vector_norm, aten.norm,
    aten.prod, aten.cumprod, aten.linalg_norm, aten.linalg_matrix_norm, aten.frobenius_norm,
    aten.nuclear_norm, aten.cov, aten.corrcoef, aten.cummax, aten.cummin, aten.max.default,
    aten.min.default, aten.aminmax, aten.median.default, aten.nanmedian.default,
)  # fmt: skip
nonlinear(
    "distance", aten.cdist, aten._cdist_forward, aten._euclidean_dist, aten.pairwise_distance,
    aten.pdist, aten.dist, aten.cosine_similarity,
)  # fmt: skip
nonlinear(
    "index", aten.argmax, aten.argmin, aten.argsort, aten.nonzero, aten.bucketize, aten.searchsorted,
    aten.unique_dim, aten._unique2, aten.bincount, aten.histc, aten.one_hot, aten.any, aten.all,
    aten.isin, aten.multinomial,
)  # fmt: skip
nonlinear(
    "matrix function", aten.linalg_inv, aten.linalg_inv_ex, aten.linalg_pinv, aten.linalg_solve,
    aten.linalg_qr, aten.linalg_svd, aten.linalg_eigh, aten.linalg_cholesky, aten.linalg_cholesky_ex,
    aten.linalg_det, aten.linalg_slogdet, aten.linalg_matrix_power, aten.linalg_matrix_exp,
    aten.inverse,
)  # fmt: skip
nonlinear("recurrence", aten.lstm, aten.gru, aten.rnn_tanh, aten.rnn_relu)
nonlinear(
    "rounding",
    aten.floor_divide,
    aten.bernoulli,
    aten.quantize_per_tensor,
    aten.fake_quantize_per_tensor_affine,
)
nonlinear("phase", aten.polar)


def is_activation(value: Any) -> bool:
    """Check whether a value comes straight out of an activation."""
    return isinstance(value, fx.Node) and lookup(NONLINEAR, value.target) == "activation"


@register_opening(*ZERO_AT_ZERO)
def through_activation(op: Op, x: fx.Node, *_: Any, **__: Any) -> list[Term]:
    """f(x) = x * (f(x) / x), with the ratio frozen."""
    return [data(x).then(operator.mul, gate(ratio, op.node, x))]


@register_opening(aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor)
def through_power(op: Op, x: fx.Node, exponent: Any) -> list[Term] | None:
    """x^p = x * (x^p / x), with an exponent that does not depend on the input (the generalised mean)."""
    return None if varies(exponent) or not varies(x) else through_activation(op, x)


@register_opening(aten.abs, aten.sin, aten.expm1, aten.atan, aten.asinh, aten.sinh, aten.sign)
def through_zero(op: Op, x: fx.Node) -> list[Term]:
    """Linearize other functions that are 0 at 0: f(x) = x * (f(x) / x), with the ratio frozen."""
    return through_activation(op, x)


@register_opening(aten.sigmoid, aten.hardsigmoid, aten.softplus, aten.log_sigmoid, aten.exp, aten.cos, aten.cosh)
def through_offset(op: Op, x: fx.Node, *settings: Any) -> list[Term]:
    """f(x) = f(0) + x * ((f(x) - f(0)) / x), with the ratio frozen."""
    rest = gate(operator.sub, op.node, gate(value_at_zero, x, op.target, settings))
    return [
        data(x).then(operator.mul, gate(ratio, rest, x)),
        frozen("at_zero", value_at_zero, x, op.target, settings),
    ]


def value_at_zero(x: Tensor, fn: Any, settings: Sequence[Any]) -> Tensor:
    """f(0), in the shape of x."""
    return fn(torch.zeros_like(x), *settings)  # type: ignore[no-any-return]


def ratio(y: Tensor, x: Tensor) -> Tensor:
    """f(x) / x, and 0 where x is 0 (for functions that are 0 there)."""
    zero = x == 0
    return torch.where(zero, torch.zeros_like(y), y / torch.where(zero, torch.ones_like(x), x))


@register_rule(aten.clamp, aten.clip)
def clamp(op: Op, x: fx.Node, low: Any = None, high: Any = None) -> list[Term] | None:
    """Treat a two-sided clamp as linear, since it keeps most values; a one-sided one, or one from 0 on, is a ReLU."""
    if low is None or high is None or low == 0 or varies(low) or varies(high):
        return None
    return through_clamp(op, x, low, high)


@register_opening(aten.clamp, aten.clip)
def through_clamp(op: Op, x: fx.Node, low: Any = None, high: Any = None) -> list[Term]:
    """Split a clamp into a frozen mask and the saturated remainder."""
    return [
        data(x).then(operator.mul, gate(inside, x, low, high)),
        frozen("saturated", saturated, x, low, high),
    ]


@register_opening(aten.clamp_min, aten.clamp_max)
def through_one_sided_clamp(op: Op, x: fx.Node, bound: Any) -> list[Term]:
    """Split a clamp with one bound."""
    return through_clamp(op, x, *((bound, None) if op.target.overloadpacket is aten.clamp_min else (None, bound)))


def inside(x: Tensor, low: Any, high: Any) -> Tensor:
    """1 where the clamp changes nothing."""
    return (torch.clamp(x, low, high) == x).to(x.dtype)


def saturated(x: Tensor, low: Any, high: Any) -> Tensor:
    """Return what the clamp returns where it cuts off, 0 elsewhere."""
    return torch.clamp(x, low, high) * (1 - inside(x, low, high))
