"""Pooling and resizing. A maximum is a frozen selection: the positions that won stay the ones that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vitdecomp.trace.rule import Op, Term, data, gate, register_rule, shape, varies

aten = torch.ops.aten


@register_rule(
    aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d, aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d,
    aten.adaptive_avg_pool3d, aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d, aten.upsample_nearest1d,
    aten.upsample_nearest2d, aten.upsample_bilinear2d, aten._upsample_bilinear2d_aa, aten.upsample_bicubic2d,
    aten._upsample_bicubic2d_aa, aten.upsample_linear1d, aten.upsample_trilinear3d, aten.upsample_nearest3d,
    aten._upsample_nearest_exact2d,
)  # fmt: skip
def resample(op: Op, x: fx.Node, *settings: Any) -> list[Term]:
    """Weighted means of neighbours, with weights that depend on sizes alone."""
    return [data(x).then(op.target, *settings)]


@register_rule(aten.grid_sampler, aten.grid_sampler_2d)
def grid_sampler(op: Op, x: fx.Node, grid: fx.Node, *settings: Any) -> list[Term] | None:
    """Sampling at frozen places."""
    return [data(x).then(op.target, grid, *settings)] if varies(x) else None


@register_rule(aten.max_pool2d, aten.max_pool2d_with_indices)
def max_pool2d(op: Op, x: fx.Node, *settings: Any) -> list[Term]:
    """The largest of each window."""
    return [data(x).then(pick, gate(winners, x, 2, *settings), 2)]


@register_rule(aten.max_pool1d, aten.max_pool1d_with_indices)
def max_pool1d(op: Op, x: fx.Node, *settings: Any) -> list[Term]:
    """The largest of each window."""
    return [data(x).then(pick, gate(winners, x, 1, *settings), 1)]


@register_rule(aten.max_pool3d, aten.max_pool3d_with_indices)
def max_pool3d(op: Op, x: fx.Node, *settings: Any) -> list[Term]:
    """The largest of each window."""
    return [data(x).then(pick, gate(winners, x, 3, *settings), 3)]


def winners(
    x: Tensor, spatial: int, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> Tensor:
    """Flat position of the largest element of each window."""
    pool: Any = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[spatial]
    _, indices = pool(x, kernel, stride or None, padding, dilation, ceil, return_indices=True)
    return indices  # type: ignore[no-any-return]


@register_rule(aten.adaptive_max_pool2d)
def adaptive_max_pool2d(op: Op, x: fx.Node, size: Sequence[Any]) -> list[Term]:
    """The largest of each window."""
    return [data(x).then(pick, gate(adaptive_winners, x, tuple(size)), 2)]


def adaptive_winners(x: Tensor, size: Any) -> Tensor:
    """Flat position of the largest element of each window."""
    return F.adaptive_max_pool2d(x, size, return_indices=True)[1]


def pick(x: Tensor, indices: Tensor, spatial: int) -> Tensor:
    """The elements at frozen flat positions of the last `spatial` axes."""
    flat = x.flatten(x.ndim - spatial)
    return flat.gather(-1, indices.flatten(indices.ndim - spatial)).reshape(indices.shape)


@register_rule(aten.amax, aten.amin)
def extreme(op: Op, x: fx.Node, dim: Sequence[int] = (), keepdim: bool = False) -> list[Term] | None:
    """The largest (or smallest) along one axis."""
    if len(dim) != 1:
        return None
    return _extreme(op, x, dim[0], op.target.overloadpacket is aten.amax)


@register_rule(aten.max.dim, aten.min.dim)
def extreme_and_index(op: Op, x: fx.Node, dim: int, keepdim: bool = False) -> list[Term]:
    """The same, as the first of two outputs."""
    return _extreme(op, x, dim, op.target.overloadpacket is aten.max)


def _extreme(op: Op, x: fx.Node, dim: int, largest: bool) -> list[Term]:
    dim = dim % len(shape(x))
    return [data(x).then(pick_along, gate(best, x, dim, largest), dim).then(torch.reshape, op.size)]


def best(x: Tensor, dim: int, largest: bool) -> Tensor:
    """Position of the extreme element, with its axis kept."""
    return (x.argmax if largest else x.argmin)(dim, keepdim=True)


def pick_along(x: Tensor, indices: Tensor, dim: int) -> Tensor:
    """The elements at frozen positions along an axis."""
    return x.gather(dim, indices)


@register_rule(aten.topk, aten.kthvalue)
def topk(op: Op, x: fx.Node, k: int, dim: int = -1, *_: Any, **__: Any) -> list[Term]:
    """The k largest: a frozen selection too."""
    indices = gate(second, op.call)
    return [data(x).then(pick_along, indices, dim % len(shape(x)))]


def second(pair: Sequence[Tensor]) -> Tensor:
    """The indices that come with the values."""
    return pair[1]


SELECTIONS = (winners, adaptive_winners, best, second)
