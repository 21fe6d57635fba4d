"""Normalisation, with the model's own statistics frozen: biased variance, and the eps of that very norm."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.rule import Op, Term, data, frozen, gate, register_rule, shape

aten = torch.ops.aten


def _affine(op: Op, term: Term, weight: Any, axis: int = 1) -> Term:
    """Times the norm's weight, which lies along one axis (or, for a layer norm, along the last ones)."""
    if weight is None:
        return term
    after = len(op.shape) - 1 - axis if axis > 0 else 0
    return term.then(operator.mul, gate(_along, weight, after))


def _along(weight: Tensor, after: int) -> Tensor:
    return weight.reshape(weight.shape + (1,) * after)


@register_rule(aten.layer_norm, aten.native_layer_norm)
def layer_norm(
    op: Op, x: fx.Node, size: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> list[Term]:
    """(x - mean) / std * weight + bias: the mean and 1/std are frozen, the mean is a term of its own."""
    dims = tuple(range(-len(size), 0))
    std = gate(inverse_std, x, dims, eps)
    terms = [data(x), frozen("mean", minus_mean, x, dims)]
    normed = [_affine(op, t.then(operator.mul, std), weight, axis=0) for t in terms]
    return normed + ([] if bias is None else [op.fit(data(bias))])


def minus_mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """-mean over some axes, kept as axes of size one."""
    return -x.mean(dims, keepdim=True)


def inverse_std(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """1 / sqrt(biased variance + eps), in at least float32 as the fused kernel does it."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide.var(dims, unbiased=False, keepdim=True) + eps).rsqrt().to(x.dtype)


@register_rule(aten.rms_norm, aten._fused_rms_norm)
def rms_norm(op: Op, x: fx.Node, size: Sequence[int], weight: Any = None, eps: float | None = None) -> list[Term]:
    """x / rms * weight."""
    dims = tuple(range(-len(size), 0))
    return [_affine(op, data(x).then(operator.mul, gate(inverse_rms, x, dims, eps)), weight, axis=0)]


def inverse_rms(x: Tensor, dims: tuple[int, ...], eps: float | None) -> Tensor:
    """1 / sqrt(mean square + eps); no eps means the machine's."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return (wide.square().mean(dims, keepdim=True) + eps).rsqrt().to(x.dtype)


@register_rule(aten.group_norm)
def group_norm(
    op: Op, x: fx.Node, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> list[Term]:
    """Normalised over each group of channels and all positions."""
    std = gate(group_inverse_std, x, groups, eps)
    terms = [data(x), frozen("mean", group_minus_mean, x, groups)]
    return [_affine(op, t.then(operator.mul, std), weight) for t in terms] + op.constant(bias, axis=1)


@register_rule(aten.native_group_norm)
def native_group_norm(
    op: Op, x: fx.Node, weight: Any, bias: Any, n: Any, c: Any, hw: Any, groups: int, eps: float
) -> list[Term]:
    """The same, as the decomposed operation writes it."""
    return group_norm(op, x, groups, weight, bias, eps)


@register_rule(aten.instance_norm)
def instance_norm(
    op: Op, x: fx.Node, weight: Any, bias: Any, mean: Any, var: Any, use_input_stats: bool, momentum: float,
    eps: float, *_: Any,
) -> list[Term]:  # fmt: skip
    """Every channel a group of its own, or frozen running statistics."""
    if use_input_stats:
        return group_norm(op, x, shape(x)[1], weight, bias, eps)
    return batch_norm(op, x, weight, bias, mean, var, momentum, eps)


def _grouped(x: Tensor, groups: int) -> tuple[Tensor, tuple[int, ...]]:
    wide = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(x.shape[0], groups, -1)
    return wide, (x.shape[0], x.shape[1]) + (1,) * (x.ndim - 2)


def group_minus_mean(x: Tensor, groups: int) -> Tensor:
    """-mean of each channel's group, `(n, c, 1, ...)`."""
    wide, out = _grouped(x, groups)
    return -wide.mean(2).repeat_interleave(x.shape[1] // groups, 1).reshape(out).to(x.dtype)


def group_inverse_std(x: Tensor, groups: int, eps: float) -> Tensor:
    """1/std of each channel's group, `(n, c, 1, ...)`."""
    wide, out = _grouped(x, groups)
    std = (wide.var(2, unbiased=False) + eps).rsqrt()
    return std.repeat_interleave(x.shape[1] // groups, 1).reshape(out).to(x.dtype)


@register_rule(aten._native_batch_norm_legit_no_training)
def batch_norm(
    op: Op, x: fx.Node, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> list[Term]:
    """(x - running mean) / running std * weight + bias: the running mean is a constant of its own."""
    after = len(op.shape) - 2
    std = gate(running_inverse_std, var, eps, after)
    terms = [data(x), data(mean).then(operator.neg).then(_along, after)]
    return [_affine(op, t.then(operator.mul, std), weight) for t in terms] + op.constant(bias, axis=1)


@register_rule(aten.batch_norm, aten.cudnn_batch_norm)
def composite_batch_norm(
    op: Op, x: fx.Node, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float,
    *_: Any,
) -> list[Term] | None:  # fmt: skip
    """The same operation before it is decomposed; statistics of the batch would tie the images together."""
    return None if training else batch_norm(op, x, weight, bias, mean, var, momentum, eps)


@register_rule(aten._native_batch_norm_legit)
def training_batch_norm(op: Op, *_: Any, **__: Any) -> None:
    """Statistics of the batch: not linear, and not per image."""
    return None


def running_inverse_std(var: Tensor, eps: float, after: int) -> Tensor:
    """1 / sqrt(running variance + eps), along the channel axis."""
    return _along((var + eps).rsqrt(), after)
