"""Normalisation, with the model's own statistics frozen: biased variance, and the eps of that very norm."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.rule import Op, Term, along, data, frozen, gate, register_rule, shape

aten = torch.ops.aten


def _scaled(op: Op, terms: Sequence[Term], std: Any, weight: Any, bias: Any, axis: int) -> list[Term]:
    """Compute (the terms) / std * weight + bias; weight and bias end at `axis` (counted from behind, from -1 on)."""
    scaled = [term.then(operator.mul, std) for term in terms]
    if weight is not None:
        scaled = [term.then(operator.mul, gate(along, weight, -1 - axis)) for term in scaled]
    return scaled + ([] if bias is None else [op.fit(data(bias).then(along, -1 - axis))])


@register_rule(aten.layer_norm, aten.native_layer_norm)
def layer_norm(
    op: Op, x: fx.Node, size: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> list[Term] | None:
    """(x - mean) / std * weight + bias: the mean and 1/std are frozen, the mean is a term of its own."""
    dims = tuple(range(-len(size), 0))
    terms = [data(x), frozen("mean", minus_mean, x, dims)]
    std = gate(inverse_std, x, dims, eps)
    return None if op.index else _scaled(op, terms, std, weight, bias, axis=-1)


def minus_mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """-mean over some axes, kept as axes of size one."""
    return -x.mean(dims, keepdim=True)


def inverse_std(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """1 / sqrt(biased variance + eps), in at least float32 as the fused kernel does it."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    _, _, std = torch.native_layer_norm(wide, [x.shape[dim] for dim in dims], None, None, eps)  # faster than var
    return std.to(x.dtype)


@register_rule(aten.rms_norm, aten._fused_rms_norm)
def rms_norm(
    op: Op, x: fx.Node, size: Sequence[int], weight: Any = None, eps: float | None = None
) -> list[Term] | None:
    """x / rms * weight."""
    std = gate(inverse_rms, x, tuple(range(-len(size), 0)), eps)
    return None if op.index else _scaled(op, [data(x)], std, weight, None, axis=-1)


def inverse_rms(x: Tensor, dims: tuple[int, ...], eps: float | None) -> Tensor:
    """1 / sqrt(mean square + eps); no eps means the machine's, of the format that it is computed in."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    eps = torch.finfo(wide.dtype).eps if eps is None else eps
    return (wide.square().mean(dims, keepdim=True) + eps).rsqrt().to(x.dtype)


@register_rule(aten.group_norm)
def group_norm(
    op: Op, x: fx.Node, groups: int | None, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> list[Term] | None:
    """Normalize over each group of channels (`None`: each channel) and all positions."""
    terms = [data(x), frozen("mean", group_minus_mean, x, groups)]
    std = gate(group_inverse_std, x, groups, eps)
    return None if op.index else _scaled(op, terms, std, weight, bias, axis=1 - len(op.shape))


@register_rule(aten.native_group_norm)
def native_group_norm(
    op: Op, x: fx.Node, weight: Any, bias: Any, n: Any, c: Any, hw: Any, groups: int, eps: float
) -> list[Term] | None:
    """Normalize groups, as the decomposed operation writes it."""
    return group_norm(op, x, groups, weight, bias, eps)


@register_rule(aten.instance_norm)
def instance_norm(
    op: Op, x: fx.Node, weight: Any, bias: Any, mean: Any, var: Any, use_input_stats: bool, momentum: float,
    eps: float, cudnn: bool,
) -> list[Term] | None:  # fmt: skip
    """Normalize each channel as a group of its own, or by running statistics."""
    if use_input_stats:
        return group_norm(op, x, None, weight, bias, eps)
    return running_norm(op, x, weight, bias, mean, var, momentum, eps)


def _grouped(x: Tensor, groups: int | None) -> tuple[Tensor, tuple[int, ...]]:
    wide = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(x.shape[0], groups or x.shape[1], -1)
    return wide, (x.shape[0], x.shape[1]) + (1,) * (x.ndim - 2)


def _spread(per_group: Tensor, x: Tensor, groups: int | None, out: tuple[int, ...]) -> Tensor:
    """Repeat a value of each group for each of its channels."""
    return per_group.repeat_interleave(x.shape[1] // (groups or x.shape[1]), 1).reshape(out).to(x.dtype)


def group_minus_mean(x: Tensor, groups: int | None) -> Tensor:
    """-mean of each channel's group, `(n, c, 1, ...)`."""
    wide, out = _grouped(x, groups)
    return _spread(-wide.mean(2), x, groups, out)


def group_inverse_std(x: Tensor, groups: int | None, eps: float) -> Tensor:
    """1/std of each channel's group, `(n, c, 1, ...)`."""
    wide, out = _grouped(x, groups)
    return _spread((wide.var(2, unbiased=False) + eps).rsqrt(), x, groups, out)


@register_rule(aten._native_batch_norm_legit_no_training, aten._batch_norm_no_update)
def running_norm(
    op: Op, x: fx.Node, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> list[Term] | None:
    """(x - running mean) / running std * weight + bias: the running mean is a constant of its own."""
    after = len(op.shape) - 2
    terms = [data(x), data(mean).then(torch.neg).then(along, after)]
    std = gate(running_inverse_std, var, eps, after)
    return None if op.index else _scaled(op, terms, std, weight, bias, axis=-1 - after)


@register_rule(aten.batch_norm, aten.cudnn_batch_norm, aten.native_batch_norm, aten._native_batch_norm_legit)
def batch_norm(
    op: Op, x: fx.Node, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float,
    eps: float, *_: Any,
) -> list[Term] | None:  # fmt: skip
    """Normalize by running statistics; statistics of a batch would tie the images together: a source."""
    if training or mean is None:
        return batch_statistics(op, x, weight, bias, training, momentum, eps)
    return running_norm(op, x, weight, bias, mean, var, momentum, eps)


@register_rule(aten._native_batch_norm_legit.no_stats)
def batch_statistics(
    op: Op, x: fx.Node, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> list[Term] | None:
    """Normalize a batch of one, every image's channels beside each other: an instance norm in disguise."""
    return group_norm(op, x, None, weight, bias, eps) if shape(x)[0] == 1 else None


def running_inverse_std(var: Tensor, eps: float, after: int) -> Tensor:
    """1 / sqrt(running variance + eps), along the channel axis."""
    return along((var + eps).rsqrt(), after)
