"""Operations in place of torch's have the same values and the same gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitdecomp.attention.blocks import mean_over
from vitdecomp.attention.differentiable import linear


def made(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("weight", [made(5, 6), made(6)], ids=["matrix", "vector"])
@pytest.mark.parametrize("shape", [(6,), (4, 6), (3, 4, 6), (2, 3, 4, 6)])
@pytest.mark.parametrize("shared", [(), (0,), (1,), (0, 1)])
def test_gradients_that_tokens_share_are_those_of_torch(
    weight: Tensor, shape: tuple[int, ...], shared: tuple[int, ...]
) -> None:
    x = made(*shape).requires_grad_()
    wanted = torch.nn.functional.linear(x, weight)
    found = linear(x, weight, None)
    grad = made(*wanted.shape)
    for axis in shared:
        if axis < grad.ndim:
            grad = grad.narrow(axis, 0, 1).expand(wanted.shape)
    torch.testing.assert_close(found, wanted)
    one, other = (torch.autograd.grad(y, x, grad)[0] for y in (found, wanted))
    assert one.shape == x.shape
    torch.testing.assert_close(one, other)


def test_weights_that_depend_on_the_image_have_gradients() -> None:
    x, weight, bias = (made(*shape).requires_grad_() for shape in ((3, 6), (5, 6), (5,)))
    one = torch.autograd.grad(linear(x, weight, bias).sum(), (x, weight, bias))
    other = torch.autograd.grad(torch.nn.functional.linear(x, weight, bias).sum(), (x, weight, bias))
    torch.testing.assert_close(one, other)


def test_all_tokens_of_a_mean_share_one_gradient() -> None:
    x = made(2, 5, 3).requires_grad_()
    mean = mean_over(x, (1,))
    torch.testing.assert_close(mean, x.mean(1, keepdim=True).expand(x.shape))
    (grad,) = torch.autograd.grad((mean * made(2, 5, 3)).sum(), x)
    assert grad.stride(1) == 0
