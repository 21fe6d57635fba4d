"""What is computed of a sum's weights while the model runs, and what is left behind a sum that moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input

from vitdecomp.trace.rules.merge import embed

Shape = tuple[int, ...]


def viewed(x: Any, shape: Shape) -> Any:
    """View a gate in another shape."""
    return x.reshape(shape)


def joined(weights: Tensor, sizes: Shape, shape: Shape) -> Tensor:
    """Expand weights to full size along some axes, and merge these into one."""
    known = [own if size == -1 else size for size, own in zip(sizes, weights.shape, strict=True)]
    return weights.expand(known).reshape(shape)


def one_each(weights: Tensor, sums: int, factors: Sequence[int], sizes: Shape) -> Tensor:
    """Give each place of some factors a sum of its own, behind the sums that exist."""
    for k, (factor, size) in enumerate(zip(factors, sizes, strict=True)):
        weights = weights.unsqueeze(sums + k)
        shape = [1] * weights.ndim
        shape[sums + k] = shape[sums + k + 1 + factor] = size
        weights = weights * torch.eye(size, dtype=weights.dtype, device=weights.device).reshape(shape)
    return weights


def as_factors(x: Tensor, order: Sequence[int], shape: Shape) -> Tensor:
    """Take several sums back in the places of their factors."""
    return x.permute(*order).reshape(shape)


def one_place(like: Tensor, start: int, total: int, behind: int) -> Tensor:
    """Make weights that are one at a place and zero elsewhere, with so many axes behind."""
    weights = like.new_zeros(total)
    weights[start] = 1
    return weights.reshape(total, *(1,) * behind)


def placed(weights: Tensor, axis: int, start: int, length: int, total: int) -> Tensor:
    """Pad the weights of a range with zeros around it."""
    return embed(weights.expand(*weights.shape[:axis], length, *weights.shape[axis + 1 :]), axis, start, total)


def put_at(x: Tensor, axis: int, start: int, total: int) -> Tensor:
    """Take one place of an axis that x does not have, with zeros at all others."""
    return embed(x.unsqueeze(axis), axis, start, total)


def mix(x: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Apply a 1 x 1 convolution along any one axis."""
    return F.linear(x.movedim(axis, -1), weight.flatten(1)).movedim(-1, axis)


def key_weights(weights: Tensor, pattern: Tensor, factors: Shape, lead: Shape, outer: Shape) -> Tensor:
    """Compute `w @ A`: the weight of each key, `(*sums, *outer, key, 1)`, for queries `(*sums, *factors, 1)`."""
    front = weights.ndim - 1 - len(factors)
    sums, own = weights.shape[:front], weights.shape[front:]
    sizes = [known if size == -1 else size for size, known in zip(factors, own, strict=False)]
    rows = weights[..., 0].expand(*sums, *sizes).reshape(sums.numel(), *lead, pattern.shape[-2])
    found = torch.matmul(rows.movedim(0, -2), pattern).movedim(-2, 0)  # a sum is one more row for each pattern
    return found.reshape(*sums, *outer, pattern.shape[-1], 1)


def in_front(weights: Tensor, order: Shape, kept: int) -> Tensor:
    """Permute the axes of weights, of which those behind the first ones, all of size one, become a single one."""
    ordered = weights.permute(*order)
    return ordered.reshape(*ordered.shape[:kept], 1)


def stacked(weights: Sequence[Tensor], sums: Sequence[int]) -> Tensor:
    """Stack the weights of several requests, with so many axes of sums each, as one: `(sum, *factors)`."""
    flat = [w.reshape(-1, *w.shape[n:]) for w, n in zip(weights, sums, strict=True)]
    sizes = [max(several) for several in zip(*(w.shape[1:] for w in flat), strict=True)]
    return torch.cat([w.expand(-1, *sizes) for w in flat])


def part_of(x: Tensor, start: int, length: int, shape: Shape) -> Tensor:
    """Return the sums of one request among those of all."""
    return x.narrow(0, start, length).reshape(shape)


def before_depthwise(weights: Tensor, kernel: Tensor, settings: Any, after: Shape, before: Shape) -> Tensor:
    """Compute the weights in front of a depthwise convolution, `(n, *before)`.

    Args:
        weights: behind it, broadcast against `(n, *after)`.
        kernel: of the convolution.
        settings: stride, padding and dilation.
        after: channels, height and width behind it.
        before: these in front of it.
    """
    full = weights.expand(-1, *after).to(kernel.dtype)
    stride, padding, dilation = settings
    found: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
        (len(full), *before), kernel, full, stride, padding, dilation, after[0]
    )
    return found


STRUCTURAL = {viewed, joined, one_each, one_place, placed, in_front, stacked}
"""Functions whose zeros follow from the zeros of their operand."""
