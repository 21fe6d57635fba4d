"""Pooling and resizing. A maximum is a frozen selection: the positions that won stay the ones that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vitdecomp.trace.rule import Gate, Op, Term, data, gate, register_rule, shape

aten = torch.ops.aten


@register_rule(
    aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d, aten.adaptive_avg_pool1d,
    aten.adaptive_avg_pool2d, aten.adaptive_avg_pool3d, aten._adaptive_avg_pool2d,
    aten._adaptive_avg_pool3d, aten.upsample_nearest1d, aten.upsample_nearest2d,
    aten.upsample_nearest3d, aten.upsample_linear1d, aten.upsample_bilinear2d,
    aten.upsample_trilinear3d, aten.upsample_bicubic2d, aten._upsample_bilinear2d_aa,
    aten._upsample_bicubic2d_aa,
)  # fmt: skip
def resample(op: Op, x: fx.Node, *settings: Any) -> list[Term]:
    """Average neighbors, with weights that depend on sizes alone."""
    return [data(x).then(sample, op.target, settings)]


def sample(x: Tensor, fn: Any, settings: Sequence[Any]) -> Tensor:
    """Average neighbors; some operations keep the memory layout by calls that torch.vmap does not know."""
    return fn(x.contiguous(), *settings)  # type: ignore[no-any-return]


@register_rule(aten._upsample_nearest_exact1d, aten._upsample_nearest_exact2d, aten._upsample_nearest_exact3d)
def nearest_exact(op: Op, x: fx.Node, *settings: Any) -> list[Term]:
    """Take the nearest neighbor by its position (torch.vmap does not know the operation itself)."""
    places = gate(nearest_places, x, op.target, settings)
    return [data(x).then(torch.flatten, 2).then(torch.index_select, 2, places).then(torch.reshape, op.size)]


def nearest_places(x: Tensor, fn: Any, settings: Sequence[Any]) -> Tensor:
    """Return the flat position of each nearest neighbor."""
    size = x.shape[2:]
    positions = torch.arange(size.numel(), dtype=torch.float32, device=x.device).reshape(1, 1, *size)
    return fn(positions, *settings).flatten().long()  # type: ignore[no-any-return]


@register_rule(aten.grid_sampler, aten.grid_sampler_2d, aten.grid_sampler_3d)
def grid_sampler(op: Op, x: fx.Node, grid: fx.Node, *settings: Any) -> list[Term]:
    """Sample at frozen places."""
    return [data(x).then(op.target, grid, *settings)]


MAX_POOLS: dict[Any, int] = {
    aten.max_pool1d: 1, aten.max_pool1d_with_indices: 1, aten.max_pool2d: 2, aten.max_pool2d_with_indices: 2,
    aten.max_pool3d: 3, aten.max_pool3d_with_indices: 3,
}  # fmt: skip
ADAPTIVE_MAX_POOLS = {aten.adaptive_max_pool1d: 1, aten.adaptive_max_pool2d: 2, aten.adaptive_max_pool3d: 3}


@register_rule(*MAX_POOLS)
def max_pool(op: Op, x: fx.Node, *settings: Any) -> list[Term] | None:
    """Take the largest of each window."""
    spatial = MAX_POOLS[op.target.overloadpacket]
    return _picked(op, x, gate(winners, x, spatial, *settings), spatial)


@register_rule(*ADAPTIVE_MAX_POOLS)
def adaptive_max_pool(op: Op, x: fx.Node, size: Sequence[Any]) -> list[Term] | None:
    """Take the largest of each window."""
    spatial = ADAPTIVE_MAX_POOLS[op.target.overloadpacket]
    return _picked(op, x, gate(adaptive_winners, x, spatial, tuple(size)), spatial)


def _picked(op: Op, x: fx.Node, indices: Gate, spatial: int) -> list[Term] | None:
    return None if op.index else [data(x).then(pick, indices, spatial)]


def winners(x: Tensor, spatial: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Tensor:
    """Return the flat position of the largest element of each window."""
    pool: Any = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[spatial]
    _, indices = pool(x, kernel, stride or None, padding, dilation, ceil, return_indices=True)
    return indices  # type: ignore[no-any-return]


def adaptive_winners(x: Tensor, spatial: int, size: Any) -> Tensor:
    """Return the flat position of the largest element of each window."""
    pool: Any = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}[spatial]
    return pool(x, size, return_indices=True)[1]  # type: ignore[no-any-return]


def pick(x: Tensor, indices: Tensor, spatial: int) -> Tensor:
    """Take the elements at frozen flat positions of the last `spatial` axes."""
    flat = x.flatten(x.ndim - spatial)
    return flat.gather(-1, indices.flatten(indices.ndim - spatial)).reshape(indices.shape)


@register_rule(aten.amax, aten.amin)
def extreme(op: Op, x: fx.Node, dim: Sequence[int] = (), keepdim: bool = False) -> list[Term]:
    """Take the largest (or smallest) along some axes, or along all."""
    rank = len(shape(x))
    axes = sorted(d % rank for d in dim) or list(range(rank))
    order = [d for d in range(rank) if d not in axes] + axes
    flat = data(x).then(torch.permute, tuple(order)).then(torch.flatten, rank - len(axes))
    indices = gate(best, x, tuple(order), rank - len(axes), op.target.overloadpacket is aten.amax)
    return [flat.then(pick_along, indices, -1).then(torch.reshape, op.size)]


def best(x: Tensor, order: Sequence[int], kept: int, largest: bool) -> Tensor:
    """Return the flat position of the extreme element over the last axes of a permutation, with an axis of its own."""
    flat = x.permute(tuple(order)).flatten(kept)
    return (flat.argmax if largest else flat.argmin)(-1, keepdim=True)


def pick_along(x: Tensor, indices: Tensor, dim: int) -> Tensor:
    """Take the elements at frozen positions along an axis."""
    return x.gather(dim, indices)


@register_rule(aten.max.dim, aten.min.dim, aten.median.dim, aten.nanmedian.dim, aten.mode, aten.kthvalue)
def one_along(op: Op, x: fx.Node, *settings: Any) -> list[Term] | None:
    """Take one element along an axis, with its position as the second output."""
    dim = settings[1] if op.target.overloadpacket is aten.kthvalue else settings[0]
    indices = gate(second_as, op.call, gate(kept_axis, x, dim))
    return None if op.index else [data(x).then(pick_along, indices, dim).then(torch.reshape, op.size)]


def kept_axis(x: Tensor, dim: int) -> tuple[int, ...]:
    """Return the shape with one axis of length one."""
    size = list(x.shape)
    size[dim] = 1
    return tuple(size)


def second_as(pair: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Return the indices that come with the values, in a given shape."""
    return pair[1].reshape(tuple(size))


@register_rule(aten.topk, aten.sort)
def several_along(op: Op, x: fx.Node, *settings: Any, **named: Any) -> list[Term] | None:
    """Take the k largest, or all in order: a frozen selection too."""
    dim = settings[1] if op.target.overloadpacket is aten.topk else named.get("dim", settings[0] if settings else -1)
    return None if op.index else [data(x).then(pick_along, gate(second, op.call), dim)]


def second(pair: Sequence[Tensor]) -> Tensor:
    """Return the indices that come with the values."""
    return pair[1]


SELECTIONS = (winners, adaptive_winners, best, second, second_as)
