"""Products with parameters: linear maps and convolutions. With both operands from the input: a source."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from string import ascii_letters
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vitdecomp.trace.rule import Op, Term, data, gate, nonlinear, register_rule, shape, varies

aten = torch.ops.aten


@register_rule(aten.linear)
def linear(op: Op, x: fx.Node, weight: fx.Node, bias: fx.Node | None = None) -> list[Term] | None:
    """x W^T + b."""
    if varies(weight):
        return None
    return [data(x).then(F.linear, weight), *op.constant(bias)]


@register_rule(aten.matmul, aten.mm, aten.bmm, aten.mv)
def matmul(op: Op, a: fx.Node, b: fx.Node) -> list[Term] | None:
    """Multiply matrices, linear in the one that depends on the input."""
    if varies(a) and varies(b):
        return None
    return [data(a).then(torch.matmul, b) if varies(a) else data(b).then(matmul_left, a)]


def matmul_left(x: Tensor, a: Tensor) -> Tensor:
    """Compute a @ x."""
    return torch.matmul(a, x)


@register_rule(aten.addmm, aten.baddbmm, aten.addmv)
def addmm(op: Op, c: Any, a: fx.Node, b: fx.Node, beta: Any = 1, alpha: Any = 1) -> list[Term] | None:
    """beta c + alpha a b."""
    product = matmul(op, a, b)
    if product is None:
        return None
    return [op.fit(data(c)).then(operator.mul, beta), product[0].then(operator.mul, alpha)]


@register_rule(
    aten.inner, aten.outer, aten.ger, aten.dot, aten.vdot, aten.kron, aten.cross,
    aten.linalg_cross, aten.linalg_vecdot,
)  # fmt: skip
def bilinear_form(op: Op, a: fx.Node, b: fx.Node, *settings: Any, **named: Any) -> list[Term] | None:
    """Multiply two operands in any other way, linear in the one that depends on the input."""
    if varies(a) and varies(b):
        return None
    place = 0 if varies(a) else 1
    return [data((a, b)[place]).then(multiply_at, op.target, place, (b, a)[place], settings, **named)]


def multiply_at(x: Tensor, fn: Any, place: int, other: Tensor, settings: Sequence[Any], **named: Any) -> Tensor:
    """Multiply with x as one of the operands."""
    factors = (x, other) if place == 0 else (other, x)
    return fn(*factors, *settings, **named)  # type: ignore[no-any-return]


@register_rule(aten.einsum)
def einsum(op: Op, equation: str, operands: Sequence[fx.Node], path: Any = None) -> list[Term] | None:
    """Contract by einsum, with a single operand that depends on the input."""
    moving = [i for i, x in enumerate(operands) if varies(x)]
    if len(moving) != 1:
        return None
    (place,), inputs, output = moving, *letters(equation)
    others = tuple(x for i, x in enumerate(operands) if i != place)
    if len(others) == 1 and "." not in equation and len(summed_letters(inputs, output, place)) > 1:
        return [_merged(operands[place], others[0], inputs, output, place)]
    return [data(operands[place]).then(einsum_at, f"{','.join(inputs)}->{output}", place, others)]


def _merged(x: fx.Node, other: fx.Node, inputs: Sequence[str], output: str, place: int) -> Term:
    """Write a sum over several axes (heads and their channels, say) as one over the channels of a projection."""
    summed = summed_letters(inputs, output, place)
    (own, x_order), (rest, order) = (_summed_last(inputs[i], summed) for i in (place, 1 - place))
    term = data(x).then(torch.permute, x_order).then(torch.flatten, len(own))
    one = next(letter for letter in ascii_letters if letter not in own + rest + output)
    return term.then(einsum_at, f"{own}{one},{rest}{one}->{output}", 0, (gate(flatten_last, other, order, len(rest)),))


def _summed_last(own: str, summed: str) -> tuple[str, tuple[int, ...]]:
    """Return the other letters, and the order of axes that puts the summed ones behind them."""
    free = "".join(x for x in own if x not in summed)
    return free, tuple(own.index(x) for x in free + summed)


def flatten_last(x: Tensor, order: Sequence[int], start: int) -> Tensor:
    """Reorder the axes, and flatten them from one on."""
    return x.permute(tuple(order)).flatten(start)


def einsum_at(x: Tensor, equation: str, place: int, others: Sequence[Tensor]) -> Tensor:
    """Compute the einsum with x as one of its operands."""
    return torch.einsum(equation, *others[:place], x, *others[place:])


def letters(equation: str) -> tuple[list[str], str]:
    """Return the letters of an einsum's operands and of its output; without an output, those that occur once."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    if not arrow:
        once = sorted(x for x in set(left) if x.isalpha() and left.count(x) == 1)
        output = ("..." if "." in left else "") + "".join(once)
    return left.split(","), output


def summed_letters(inputs: Sequence[str], output: str, place: int) -> str:
    """Return the letters over which an operand is summed with another one, not alone."""
    elsewhere = "".join(x for i, x in enumerate(inputs) if i != place)
    return "".join(x for x in inputs[place] if x.isalpha() and x not in output and x in elsewhere)


@register_rule(aten.tensordot)
def tensordot(op: Op, a: fx.Node, b: fx.Node, axes_a: Sequence[int], axes_b: Sequence[int]) -> list[Term] | None:
    """Sum over some axes of both operands, written as an einsum."""
    own = list(ascii_letters[: len(shape(a))])
    other = list(ascii_letters[len(own) : len(own) + len(shape(b))])
    for i, j in zip(axes_a, axes_b, strict=True):
        other[j] = own[i]
    output = [x for x in own + other if (x in own) != (x in other)]
    return einsum(op, f"{''.join(own)},{''.join(other)}->{''.join(output)}", [a, b])


@register_rule(
    aten.conv1d, aten.conv2d, aten.conv3d, aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d,
    aten.convolution,
)  # fmt: skip
def conv(op: Op, x: fx.Node, weight: fx.Node, bias: fx.Node | None, *settings: Any) -> list[Term] | None:
    """Convolve, and add the bias along the channels."""
    if varies(weight):
        return None
    return [
        data(x).then(convolve, weight, op.target, settings),
        *op.constant(bias, axis=1 - len(shape(weight))),
    ]


def convolve(x: Tensor, weight: Tensor, fn: Any, settings: Sequence[Any]) -> Tensor:
    """Convolve without the bias."""
    return fn(x, weight, None, *settings)  # type: ignore[no-any-return]


nonlinear("product", aten.bilinear, aten._trilinear, aten.addbmm, aten.linalg_multi_dot)
