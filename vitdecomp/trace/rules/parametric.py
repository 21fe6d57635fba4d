"""Products with parameters: linear maps and convolutions. With both operands from the image: a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vitdecomp.trace.rule import Op, Term, data, register_rule, varies

aten = torch.ops.aten


@register_rule(aten.linear)
def linear(op: Op, x: fx.Node, weight: fx.Node, bias: fx.Node | None = None) -> list[Term] | None:
    """x W^T + b."""
    if varies(weight):
        return None
    return [data(x).then(F.linear, weight), *op.constant(bias)]


@register_rule(aten.matmul, aten.mm, aten.bmm, aten.mv, aten.dot)
def matmul(op: Op, a: fx.Node, b: fx.Node) -> list[Term] | None:
    """A product of matrices, linear in the one that depends on the image."""
    if varies(a) and varies(b):
        return None
    return [data(a).then(torch.matmul, b) if varies(a) else data(b).then(matmul_left, a)]


def matmul_left(x: Tensor, a: Tensor) -> Tensor:
    """a @ x."""
    return torch.matmul(a, x)


@register_rule(aten.addmm, aten.baddbmm, aten.addbmm)
def addmm(op: Op, c: Any, a: fx.Node, b: fx.Node, beta: Any = 1, alpha: Any = 1) -> list[Term] | None:
    """beta c + alpha a b."""
    product = matmul(op, a, b) if op.target.overloadpacket is not aten.addbmm else None
    if product is None:
        return None
    return [op.fit(data(c)).then(torch.mul, beta), product[0].then(torch.mul, alpha)]


@register_rule(aten.einsum)
def einsum(op: Op, equation: str, operands: Sequence[fx.Node], **_: Any) -> list[Term] | None:
    """Any sum of products with a single operand that depends on the image."""
    moving = [i for i, x in enumerate(operands) if varies(x)]
    if len(moving) != 1:
        return None
    others = tuple(x for i, x in enumerate(operands) if i != moving[0])
    return [data(operands[moving[0]]).then(einsum_at, equation, moving[0], others)]


def einsum_at(x: Tensor, equation: str, place: int, others: Sequence[Tensor]) -> Tensor:
    """einsum with x as one of its operands."""
    return torch.einsum(equation, *others[:place], x, *others[place:])


CONVOLUTIONS = (aten.conv1d, aten.conv2d, aten.conv3d)


@register_rule(*CONVOLUTIONS, aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d, aten.convolution)
def conv(op: Op, x: fx.Node, weight: fx.Node, bias: fx.Node | None, *settings: Any) -> list[Term] | None:
    """A convolution, and its bias along the channels."""
    if varies(weight):
        return None
    return [data(x).then(convolve, weight, op.target, settings), *op.constant(bias, axis=1)]


def convolve(x: Tensor, weight: Tensor, fn: Any, settings: Sequence[Any]) -> Tensor:
    """The convolution without its bias."""
    return fn(x, weight, None, *settings)  # type: ignore[no-any-return]


@register_rule(aten.bilinear)
def bilinear(op: Op, *_: Any) -> None:
    """A product of two operands."""
    return None


# Which axis of its input a linear step sums over with a parameter: the channel axis there.
CONTRACTED: dict[Any, int] = {F.linear: -1, torch.matmul: -1, matmul_left: -2, convolve: 1}


def contracted_axis(fn: Any, args: Sequence[Any]) -> int | None:
    """The channel axis of a step's input, or `None` if the step does not mix channels."""
    if fn is einsum_at:
        return _einsum_axis(args[0], args[1])
    return CONTRACTED.get(fn)


def _einsum_axis(equation: str, place: int) -> int | None:
    inputs, _, output = equation.replace(" ", "").partition("->")
    own = inputs.split(",")[place].replace("...", ".")
    summed = [i for i, letter in enumerate(own) if letter not in output and letter != "."]
    return summed[-1] - len(own) if summed else None
