"""What stands in for a linear step that adds up, where only places count: the same step without its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Map: TypeAlias = "Callable[[Tensor], Tensor]"


class NoPlace(LookupError):
    """Places are lost in a step."""


def mean_over(axis: int, size: int) -> Map:
    """Build the map to the mean over an axis, repeated so many times."""

    def run(x: Tensor) -> Tensor:
        sizes = [*x.shape]
        sizes[axis] = size
        return (x.narrow(axis, 0, 1) if x.stride(axis) == 0 else x.mean(axis, keepdim=True)).expand(sizes)

    return run


def even(matrix: Any) -> Tensor:
    """Take one for each weight that is not zero; where all are, as in a layer that begins as nothing, for each."""
    found = matrix.cpu() != 0
    return (found if bool(found.any()) else torch.ones_like(found)).double()


def middle(sizes: Sequence[int]) -> Tensor:
    """Return a kernel of ones in the middle of a window, `(1, 1, *sizes)`; an even size has two middle places."""
    found = torch.ones(1, 1, dtype=torch.float64)
    for size in sizes:
        line = torch.zeros(size, dtype=torch.float64)
        line[[(size - 1) // 2, size // 2]] = 1
        found = found[..., None] * line
    return found


def middle_of_windows(kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, spatial: int) -> Map:
    """Build the map to the middle of each window, of every channel.

    Raises:
        NoPlace: windows reach beyond the edge.
    """
    sizes = [*kernel] if isinstance(kernel, (tuple, list)) else [kernel] * spatial
    if ceil:
        raise NoPlace("windows that reach beyond the edge")
    conv: Any = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
    ones = middle(sizes * (spatial if len(sizes) == 1 else 1))

    def run(x: Tensor) -> Tensor:
        flat = x.reshape(-1, 1, *x.shape[x.ndim - spatial :])
        found: Tensor = conv(flat, ones, None, stride or tuple(ones.shape[2:]), padding, dilation)
        return found.reshape(*x.shape[: x.ndim - spatial], *found.shape[2:])

    return run


def mean_over_blocks(spatial: int, size: Any) -> Map:
    """Means of as many blocks as an axis shall be long."""
    mean: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[spatial - 1]

    def run(x: Tensor) -> Tensor:
        found: Tensor = mean(x, size)
        return found

    return run
