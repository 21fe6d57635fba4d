import pytest
import torch

from tests.trace.rules.contract import is_source
from vitdecomp.testing import Case, Data, RuleContract

aten = torch.ops.aten
X = Data(4, 6)
SLOPE = torch.linspace(0.1, 0.4, 4, dtype=torch.float64)
EXPONENT = torch.tensor(3.0, dtype=torch.float64)
BOUND = torch.tensor(0.5, dtype=torch.float64)


def secant(op):
    """x * (f(x) / x), the ratio detached."""
    return lambda x, *settings: x * (op(x.detach(), *settings) / x.detach())


def secant_from_offset(op):
    """f(0) + x * ((f(x) - f(0)) / x), the ratio detached."""

    def formula(x):
        start = op(torch.zeros_like(x))
        return start + x * ((op(x.detach()) - start) / x.detach())

    return formula


def clamped(x, low=None, high=None):
    inside = x.detach().clamp(low, high) == x.detach()
    return torch.where(inside, x, x.detach().clamp(low, high))


def opened(op, *settings):
    return Case(op, X, *settings, opened=True, formula=secant(op))


class TestActivation(RuleContract):
    cases = (
        Case(aten.clamp.default, X, -0.5, 0.4, formula=clamped),
        Case(aten.clamp.Tensor, X, -BOUND, BOUND, formula=clamped),
        Case(aten.clip.default, X, -0.5, 0.4, formula=clamped),
        Case(aten.clamp.default, X, 0.0, 0.4, opened=True, formula=clamped),
        Case(aten.clamp.default, X, None, 0.4, opened=True, formula=clamped),
        Case(aten.clip.default, X, -0.2, opened=True, formula=clamped),
        Case(aten.clamp_min.default, X, 0.0, opened=True, formula=clamped),
        Case(aten.clamp_max.default, X, 0.3, opened=True, formula=lambda x, high: clamped(x, None, high)),
        opened(aten.gelu.default),
        opened(aten.silu.default),
        opened(aten.relu.default),
        opened(aten.relu6.default),
        opened(aten.hardswish.default),
        opened(aten.tanh.default),
        opened(aten.leaky_relu.default, 0.2),
        opened(aten.elu.default),
        opened(aten.mish.default),
        opened(aten.selu.default),
        opened(aten.celu.default, 0.7),
        opened(aten.prelu.default, SLOPE),
        opened(aten._prelu_kernel.default, SLOPE[:, None]),
        opened(aten.erf.default),
        opened(aten.hardtanh.default, -0.5, 0.5),
        opened(aten.square.default),
        opened(aten.rrelu.default, 0.1, 0.3, False),
        opened(aten.hardshrink.default, 0.2),
        opened(aten.softshrink.default, 0.2),
        *(opened(op) for op in (
            aten.abs.default, aten.sin.default, aten.expm1.default,
            aten.atan.default, aten.asinh.default, aten.sinh.default, aten.sign.default,
        )),
        opened(aten.pow.Tensor_Scalar, 3),
        opened(aten.pow.Tensor_Tensor, EXPONENT),
        *(Case(op, X, opened=True, formula=secant_from_offset(op)) for op in (
            aten.sigmoid.default, aten.hardsigmoid.default, aten.softplus.default, aten.log_sigmoid.default,
            aten.exp.default, aten.cos.default, aten.cosh.default,
        )),
    )  # fmt: skip


NONLINEAR = [
    Case(op, X, *settings)
    for op, *settings in (
        (aten.abs.default,), (aten.exp.default,), (aten.log.default,), (aten.sqrt.default,),
        (aten.rsqrt.default,), (aten.square.default,), (aten.pow.Tensor_Scalar, 2),
        (aten.pow.Tensor_Tensor, Data(4, 6)), (aten.reciprocal.default,), (aten.sin.default,),
        (aten.cos.default,), (aten.sigmoid.default,), (aten.gelu.default,), (aten.relu.default,),
        (aten.softplus.default,), (aten.log_sigmoid.default,), (aten.glu.default, 1),
        (aten.threshold.default, 0.1, 0.0), (aten.hardsigmoid.default,), (aten.softmax.int, -1),
        (aten._softmax.default, -1, False), (aten._safe_softmax.default, -1), (aten.log_softmax.int, -1),
        (aten.logsumexp.default, [1]), (aten.var.dim, [1]), (aten.std.correction, [1]),
        (aten.linalg_vector_norm.default, 2, [1]), (aten.norm.ScalarOpt_dim, 2, [1]),
        (aten.prod.dim_int, 1), (aten.cumprod.default, 1), (aten.floor.default,), (aten.round.default,),
        (aten.sign.default,), (aten.maximum.default, Data(4, 6)), (aten.argmax.default, 1),
        (aten.minimum.default, Data(4, 6)), (aten.cosine_similarity.default, Data(4, 6)),
        (aten.floor_divide.Scalar, 2), (aten.remainder.Scalar, 2), (aten.gt.Scalar, 0),
        (aten.cdist.default, Data(4, 6)), (aten.isnan.default,), (aten.clamp.default, 0.0),
        (aten.clamp.default, None, 1.0), (aten.clamp.default, 0.0, 6.0),
        (aten.clamp.Tensor, Data(1, 1), BOUND), (aten.clamp_min.default, 0.0),
        (aten.polar.default, Data(4, 6)),
    )
]  # fmt: skip


@pytest.mark.parametrize("case", NONLINEAR, ids=str)
def test_nonlinear_operations_are_sources(case):
    assert is_source(case)


def test_secant_is_zero_where_the_data_is():
    from vitdecomp.trace.rules.activation import ratio

    x = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert ratio(torch.nn.functional.gelu(x), x)[0] == 0
