import pytest
import torch

from tests.trace.rules.contract import constants, is_source
from vitdecomp.testing import Case, Data, RuleContract
from vitdecomp.trace.rules.norm import inverse_rms

aten = torch.ops.aten
SEED = torch.Generator().manual_seed(0)


def parameter(*shape):
    return torch.randn(shape, generator=SEED, dtype=torch.float64)


X, LINE, IMAGE, SPACE = Data(4, 6), Data(4, 5), Data(4, 3, 3), Data(4, 2, 3, 2)
W, B, VAR = parameter(6), parameter(6), parameter(6).square() + 0.1
CW, CB, MEAN, CVAR = parameter(4), parameter(4), parameter(4), parameter(4).square() + 0.1


def scaled(x, mean, var, weight, bias, eps, axis):
    def along(v):
        return v.reshape(v.shape + (1,) * (-1 - axis))

    y = (x - mean.detach()) / (var.detach() + eps).sqrt()
    y = y if weight is None else y * along(weight)
    return y if bias is None else y + along(bias)


def layer_norm(x, size, weight=None, bias=None, eps=1e-5, *_):
    dims = tuple(range(-len(size), 0))
    return scaled(x, x.mean(dims, True), x.var(dims, False, keepdim=True), weight, bias, eps, -1)


def rms_norm(x, size, weight=None, eps=None):
    square = x.square().mean(tuple(range(-len(size), 0)), True)
    eps = torch.finfo(torch.float64).eps if eps is None else eps
    return scaled(x, torch.zeros(()), square, weight, None, eps, -1)


def group_norm(x, groups, weight=None, bias=None, eps=1e-5, *_):
    split = x.unflatten(1, (groups, -1))
    dims = tuple(range(2, split.ndim))
    mean, var = (
        s.expand_as(split).reshape(x.shape) for s in (split.mean(dims, True), split.var(dims, False, keepdim=True))
    )
    return scaled(x, mean, var, weight, bias, eps, 1 - x.ndim)


def instance_norm(x, weight, bias, mean, var, stats, momentum, eps, *_):
    return group_norm(x, x.shape[1], weight, bias, eps)


def running_norm(x, weight, bias, mean, var, *settings):
    mean, var = (s.reshape(-1, *[1] * (x.ndim - 2)) for s in (mean, var))
    return scaled(x, mean, var, weight, bias, settings[-1], 1 - x.ndim)


def batch_norm(x, weight, bias, mean, var, training, momentum, eps, *_):
    return running_norm(x, weight, bias, mean, var, eps)


def native_group_norm(x, weight, bias, n, c, hw, groups, eps):
    return group_norm(x, groups, weight, bias, eps)


def no_statistics(x, weight, bias, training, momentum, eps):
    return group_norm(x, x.shape[1], weight, bias, eps)


RUNNING = (CW, CB, MEAN, CVAR)


class TestNorm(RuleContract):
    cases = (
        Case(aten.layer_norm.default, X, [6], W, B, 0.1, formula=layer_norm),
        Case(aten.layer_norm.default, X, [6], formula=layer_norm),
        Case(aten.layer_norm.default, X, [4, 6], parameter(4, 6), parameter(4, 6), formula=layer_norm),
        Case(aten.layer_norm.default, X, [6], None, B, formula=layer_norm),
        Case(aten.native_layer_norm.default, X, [6], W, None, 1e-3, pick=0, formula=layer_norm),
        Case(aten.rms_norm.default, X, [6], W, 0.1, formula=rms_norm),
        Case(aten.rms_norm.default, X, [6], formula=rms_norm),
        Case(aten.rms_norm.default, X, [4, 6], parameter(4, 6), formula=rms_norm),
        Case(aten._fused_rms_norm.default, X, [6], W, 1e-3, pick=0, formula=rms_norm),
        Case(aten.group_norm.default, LINE, 2, CW, CB, 0.1, formula=group_norm),
        Case(aten.group_norm.default, IMAGE, 4, formula=group_norm),
        Case(aten.group_norm.default, SPACE, 1, CW, None, formula=group_norm),
        Case(aten.group_norm.default, Data(4), 2, CW, CB, formula=group_norm),
        Case(
            aten.native_group_norm.default,
            IMAGE,
            CW,
            CB,
            3,
            4,
            9,
            2,
            0.1,
            pick=0,
            formula=native_group_norm,
            sizes=(3,),
        ),
        Case(aten.instance_norm.default, LINE, CW, CB, None, None, True, 0.1, 0.1, False, formula=instance_norm),
        Case(
            aten.instance_norm.default,
            SPACE,
            None,
            None,
            None,
            None,
            True,
            0.1,
            1e-5,
            True,
            formula=instance_norm,
        ),
        Case(aten.instance_norm.default, IMAGE, *RUNNING, False, 0.1, 1e-3, False, formula=batch_norm),
        Case(
            aten._native_batch_norm_legit_no_training.default,
            IMAGE,
            *RUNNING,
            0.1,
            0.1,
            pick=0,
            formula=running_norm,
        ),
        Case(
            aten._native_batch_norm_legit_no_training.default,
            X,
            None,
            None,
            MEAN,
            CVAR,
            0.1,
            0.1,
            pick=0,
            formula=running_norm,
        ),
        Case(
            aten._native_batch_norm_legit_no_training.default,
            Data(4),
            *RUNNING,
            0.1,
            0.1,
            pick=0,
            formula=running_norm,
        ),
        Case(aten._batch_norm_no_update.default, IMAGE, *RUNNING, 0.1, 0.1, pick=0, formula=running_norm),
        Case(aten.batch_norm.default, SPACE, *RUNNING, False, 0.1, 0.1, False, formula=batch_norm),
        Case(aten.native_batch_norm.default, IMAGE, *RUNNING, False, 0.1, 0.1, pick=0, formula=batch_norm),
        Case(
            aten._native_batch_norm_legit.default,
            IMAGE,
            *RUNNING,
            False,
            0.1,
            0.1,
            pick=0,
            formula=batch_norm,
        ),
        Case(
            aten._native_batch_norm_legit.no_stats,
            Data(1, 3, 3, batch=1),
            None,
            None,
            True,
            0.1,
            0.1,
            pick=0,
            formula=no_statistics,
        ),
    )


SOURCES = (
    Case(aten.batch_norm.default, IMAGE, *RUNNING, True, 0.1, 0.1, False),
    Case(aten.batch_norm.default, IMAGE, CW, CB, None, None, True, 0.1, 0.1, False),
    Case(aten._native_batch_norm_legit.no_stats, IMAGE, CW, CB, True, 0.1, 0.1, pick=0),
    Case(aten.native_layer_norm.default, X, [6], W, B, 0.1, pick=1),
    Case(aten.native_layer_norm.default, X, [6], W, B, 0.1, pick=2),
    Case(aten.native_group_norm.default, IMAGE, CW, CB, 3, 4, 9, 2, 0.1, pick=1, sizes=(3,)),
)


@pytest.mark.parametrize("case", SOURCES, ids=str)
def test_statistics_of_the_batch_and_further_outputs_are_sources(case):
    assert is_source(case)


def test_constants_are_mean_and_bias():
    assert constants(Case(aten.layer_norm.default, X, [6], W, B)) == 2
    assert constants(Case(aten.layer_norm.default, X, [6], W)) == 1
    assert constants(Case(aten.rms_norm.default, X, [6], W)) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_rms_norm_without_eps_uses_that_of_its_own_precision(dtype):
    x = (torch.randn(4, 8, generator=SEED) * 1e-2).to(dtype)
    expected = torch.nn.functional.rms_norm(x, (8,))
    torch.testing.assert_close(x * inverse_rms(x, (-1,), None), expected, rtol=2e-2, atol=1e-4)
