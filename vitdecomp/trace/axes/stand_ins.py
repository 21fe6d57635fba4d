"""What stands in for a linear step that adds up, where only places count: the same step without its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdecomp.trace.linear_graph import resolve
from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.rules.parametric import convolve, einsum_at, matmul_left
from vitdecomp.trace.rules.pool import adaptive_winners, pick, pick_along, sample, second, winners

aten = torch.ops.aten
Map: TypeAlias = "Callable[[Tensor], Tensor]"


class NoPlace(LookupError):
    """Places are lost in a step."""


def mean_over(axis: int, size: int) -> Map:
    """The mean over an axis, at each of so many places there."""

    def run(x: Tensor) -> Tensor:
        sizes = [*x.shape]
        sizes[axis] = size
        return (x.narrow(axis, 0, 1) if x.stride(axis) == 0 else x.mean(axis, keepdim=True)).expand(sizes)

    return run


def _even(matrix: Any) -> Tensor:
    """One for each weight that is not zero; where all are, as in a layer that begins as nothing, for each."""
    found = matrix.cpu() != 0
    return (found if bool(found.any()) else torch.ones_like(found)).double()


def _linear(step: Step, values: Mapping[Gate, Any]) -> Map:
    return mean_over(-1, len(resolve(step.args[0], values)))


def _matmul(step: Step, values: Mapping[Gate, Any]) -> Map:
    other = _even(resolve(step.args[0], values))
    return lambda x: torch.matmul(x, other)


def _matmul_left(step: Step, values: Mapping[Gate, Any]) -> Map:
    other = _even(resolve(step.args[0], values))
    return lambda x: torch.matmul(other, x)


def _einsum(step: Step, values: Mapping[Gate, Any]) -> Map:
    equation, place, others = step.args
    known = [_even(resolve(other, values)) for other in others]
    return lambda x: einsum_at(x, equation, place, known)


def _convolve(step: Step, values: Mapping[Gate, Any]) -> Map:
    """The middle of the window, of all channels alike."""
    weight, fn, settings = resolve(step.args[0], values), step.args[1], [*resolve(step.args[2], values)]
    packet = fn.overloadpacket
    place = 5 if packet is aten.convolution else 3  # of the number of groups
    transposed = settings[3] if packet is aten.convolution else packet in TRANSPOSED
    channels = weight.shape[1] * settings[place] if transposed else len(weight)
    settings[place] = 1
    kernel = torch.ones_like(_middle(weight.shape[2:])) if transposed else _middle(weight.shape[2:])

    def run(x: Tensor) -> Tensor:
        if x.ndim != weight.ndim:
            raise NoPlace("a convolution without a batch")
        found: Tensor = fn(x.mean(1, keepdim=True), kernel, None, *settings)
        return found.expand(-1, channels, *(-1 for _ in found.shape[2:]))

    return run


TRANSPOSED = (aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)


def _middle(sizes: Sequence[int]) -> Tensor:
    """A kernel of ones in the middle of a window, `(1, 1, *sizes)`; along an even size the middle are two places."""
    found = torch.ones(1, 1, dtype=torch.float64)
    for size in sizes:
        line = torch.zeros(size, dtype=torch.float64)
        line[[(size - 1) // 2, size // 2]] = 1
        found = found[..., None] * line
    return found


def _pooled(kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, spatial: int) -> Map:
    """The middle of each window, of every channel."""
    sizes = [*kernel] if isinstance(kernel, (tuple, list)) else [kernel] * spatial
    if ceil:
        raise NoPlace("windows that reach beyond the edge")
    conv: Any = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
    middle = _middle(sizes * (spatial if len(sizes) == 1 else 1))

    def run(x: Tensor) -> Tensor:
        flat = x.reshape(-1, 1, *x.shape[x.ndim - spatial :])
        found: Tensor = conv(flat, middle, None, stride or tuple(middle.shape[2:]), padding, dilation)
        return found.reshape(*x.shape[: x.ndim - spatial], *found.shape[2:])

    return run


AVERAGES = {aten.avg_pool1d: 1, aten.avg_pool2d: 2, aten.avg_pool3d: 3}


def _sample(step: Step, values: Mapping[Gate, Any]) -> Map:
    """Means of windows; other means of neighbours depend on sizes alone."""
    fn, settings = step.args[0], resolve(step.args[1], values)
    spatial = AVERAGES.get(fn.overloadpacket)
    if spatial is None:
        return lambda x: sample(x, fn, settings)
    kernel, stride, padding, ceil = settings[:4]
    return _pooled(kernel, stride, padding, 1, ceil, spatial)


def mean_over_blocks(spatial: int, size: Any) -> Map:
    """Means of as many blocks as an axis shall be long."""
    mean: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[spatial - 1]

    def run(x: Tensor) -> Tensor:
        found: Tensor = mean(x, size)
        return found

    return run


def _pick(step: Step, values: Mapping[Gate, Any]) -> Map:
    """The largest of each window."""
    gate, spatial = step.args
    if gate.fn is adaptive_winners:
        return mean_over_blocks(spatial, gate.args[2])
    if gate.fn is not winners:
        raise NoPlace("a selection")
    kernel, stride, padding, dilation, ceil = gate.args[2:]
    return _pooled(kernel, stride, padding, dilation, ceil, spatial)


def _pick_along(step: Step, values: Mapping[Gate, Any]) -> Map:
    indices, axis = step.args
    if not isinstance(indices, Gate) or indices.fn is second:
        raise NoPlace("an order that the image decides")
    return lambda x: x.mean(axis, keepdim=True)


STAND_INS: dict[Any, Callable[[Step, Mapping[Gate, Any]], Map]] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    matmul_left: _matmul_left,
    einsum_at: _einsum,
    convolve: _convolve,
    sample: _sample,
    pick: _pick,
    pick_along: _pick_along,
}
