"""A run of a captured model through which gradients flow to whatever asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx

from vitdecomp._utils.linear import linear_at_once
from vitdecomp.trace.capture import Captured

aten = torch.ops.aten


def _copied(x: Tensor, source: Tensor, *_: Any) -> Tensor:
    return source.to(x.dtype).expand_as(x).clone()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply by a weight, which is a constant unless it depends on the input."""
    if weight.requires_grad or (bias is not None and bias.requires_grad):
        return linear_at_once(x, weight, bias)
    found: Tensor = _Linear.apply(x, weight, bias)
    return found


class _Linear(torch.autograd.Function):
    """x W^T + b with constant W and b.

    The adjoint of tokens that share a gradient, as those of a mean do, is computed once for all of them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return linear_at_once(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        grad = grads[0] if weight.ndim > 1 else grads[0][..., None]
        found = linear_at_once(_unexpanded(grad), weight.T if weight.ndim > 1 else weight[:, None])
        return found.expand(*grad.shape[:-1], -1), None, None


def _unexpanded(x: Tensor) -> Tensor:
    """Keep one element along each axis but the last on which one element stands for all."""
    for axis, (size, stride) in enumerate(zip(x.shape[:-1], x.stride(), strict=False)):
        x = x.narrow(axis, 0, 1) if size > 1 and stride == 0 else x
    return x


IN_PLACE_OF: dict[Any, Callable[..., Any]] = {
    aten.view.default: torch.reshape,  # what is differentiated may lie otherwise in memory
    aten.linear.default: linear,
    aten.copy.default: _copied,  # the operation itself has no derivative
}


class Differentiable(fx.Interpreter):
    """Runs a graph with parameters as constants, and operations that have derivatives whatever the memory layout."""

    def fetch_attr(self, target: str) -> Any:
        """Take parameters as constants."""
        value = super().fetch_attr(target)
        return value.detach() if isinstance(value, Tensor) else value

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call what stands for an operation here."""
        chosen: Any = IN_PLACE_OF.get(target, target)
        return super().call_function(chosen, args, kwargs)


def run(captured: Captured, images: Float[Tensor, "n *image"]) -> Float[Tensor, "n d"]:
    """Compute the representation of any number of images; where gradients are on, as a part of their autograd graph."""
    outputs = [Differentiable(captured.module).run(chunk) for chunk in captured.chunks(images)]
    found = [output[0] if isinstance(output, (tuple, list)) else output for output in outputs]
    return found[0] if len(images) == len(found[0]) else torch.cat(found)[: len(images)]
