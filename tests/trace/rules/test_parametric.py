import pytest
import torch

from tests.trace.rules.contract import constants, is_source
from vitdecomp.testing import Case, Data, RuleContract
from vitdecomp.trace.linear_graph import Apply
from vitdecomp.trace.rules.parametric import einsum_at
from vitdecomp.trace.steps import contracted_axis

aten = torch.ops.aten
SEED = torch.Generator().manual_seed(0)


def parameter(*shape):
    return torch.randn(shape, generator=SEED, dtype=torch.float64)


X, V, IMAGE = Data(4, 6), Data(6), Data(4, 7, 7)
W, B = parameter(5, 6), parameter(5)
LINE, SPACE = Data(4, 7), Data(2, 4, 4, 4)


class TestParametric(RuleContract):
    cases = (
        Case(aten.linear.default, X, W, B),
        Case(aten.linear.default, X, W),
        Case(aten.linear.default, V, W, None),
        Case(aten.linear.default, X, W, Data(4, 5)),
        Case(aten.matmul.default, X, W.T),
        Case(aten.matmul.default, parameter(3, 4), X),
        Case(aten.matmul.default, X, parameter(6)),
        Case(aten.matmul.default, parameter(2, 1, 5, 4), X),
        Case(aten.mm.default, V, W.T),
        Case(aten.mm.default, W, Data(6, batch=1)),
        Case(aten.bmm.default, Data(4, 6, batch=1), parameter(4, 6, 2)),
        Case(aten.bmm.default, parameter(4, 2, 6), Data(4, 6, batch=2)),
        Case(aten.mv.default, V, parameter(6)),
        Case(aten.mv.default, W, Data(6, batch=None)),
        Case(aten.addmm.default, B, V, W.T),
        Case(aten.addmm.default, Data(5), V, W.T, beta=0.5, alpha=2),
        Case(aten.addmv.default, Data(), V, parameter(6), alpha=3),
        Case(aten.baddbmm.default, parameter(4, 1, 2), Data(4, 6, batch=1), parameter(4, 6, 2), beta=2),
        Case(aten.einsum.default, "ntd,cd->ntc", [X, W]),
        Case(aten.einsum.default, "... t d, c d -> ... c t", [X, W]),
        Case(aten.einsum.default, "cd,n...d,c->n...c", [W, X, B]),
        Case(aten.einsum.default, "ntd->nd", [X]),
        Case(aten.einsum.default, "nhtd,hde", [Data(2, 3, 4), parameter(2, 4, 5)]),
        Case(aten.einsum.default, "bnhd,hdo->bno", [Data(3, 2, 4), parameter(2, 4, 5)]),
        Case(aten.einsum.default, "ohd,bhnd->bno", [parameter(5, 2, 4), Data(2, 3, 4)]),
        Case(aten.einsum.default, "d...,dc", [Data(6, 4, batch=1), W.T]),
        Case(aten.tensordot.default, Data(3, 2, 4), parameter(2, 4, 5), [2, 3], [0, 1]),
        Case(aten.tensordot.default, parameter(5, 2, 4), Data(3, 2, 4), [-1, 1], [3, 2]),
        Case(aten.inner.default, X, W),
        Case(aten.inner.default, W, X),
        Case(aten.outer.default, Data(), B),
        Case(aten.outer.default, B, Data()),
        Case(aten.ger.default, Data(), B),
        Case(aten.dot.default, Data(batch=0), parameter(3), sizes=(3,)),
        Case(aten.vdot.default, parameter(3), Data(), sizes=(3,)),
        Case(aten.kron.default, X, parameter(2, 2)),
        Case(aten.kron.default, parameter(1, 2, 2), X),
        Case(aten.tensordot.default, X, W, [2], [1]),
        Case(aten.tensordot.default, W, X, [1], [2]),
        Case(aten.cross.default, Data(3), parameter(1, 3).expand(3, 3), 1, sizes=(3,)),
        Case(aten.linalg_cross.default, parameter(1, 3), Data(3), dim=-1),
        Case(aten.linalg_vecdot.default, X, parameter(6)),
        Case(aten.conv1d.default, LINE, parameter(5, 4, 3), B, [2], [1]),
        Case(aten.conv1d.padding, LINE, parameter(5, 4, 3), None, [1], "same"),
        Case(aten.conv1d.default, Data(7), parameter(5, 3, 3), B, sizes=(3,)),  # one image without a batch
        Case(aten.conv2d.default, IMAGE, parameter(5, 4, 3, 3), B, [2, 1], [1, 0], [1, 2]),
        Case(aten.conv2d.default, IMAGE, parameter(4, 1, 3, 3), None, [1, 1], [1, 1], [1, 1], 4),
        Case(aten.conv2d.padding, IMAGE, parameter(5, 4, 3, 3), B, [1, 1], "same"),
        Case(aten.conv3d.default, SPACE, parameter(5, 2, 2, 2, 2), B, [2, 2, 2]),
        Case(aten.conv_transpose1d.default, LINE, parameter(4, 5, 3), B, [2], [1], [1]),
        Case(aten.conv_transpose2d.input, IMAGE, parameter(4, 5, 2, 2), B, [2, 2]),
        Case(aten.conv_transpose3d.input, SPACE, parameter(2, 5, 2, 2, 2), B),
        Case(
            aten.convolution.default,
            IMAGE,
            parameter(5, 4, 3, 3),
            B,
            [1, 1],
            [1, 1],
            [1, 1],
            False,
            [0, 0],
            1,
        ),
        Case(
            aten.convolution.default,
            IMAGE,
            parameter(4, 5, 2, 2),
            None,
            [2, 2],
            [0, 0],
            [1, 1],
            True,
            [1, 1],
            1,
        ),
    )


SOURCES = (
    Case(aten.linear.default, X, Data(6, batch=0)),
    Case(aten.linear.default, parameter(4, 6), V),
    Case(aten.matmul.default, X, Data(6, 4)),
    Case(aten.mm.default, V, Data(6, batch=1)),
    Case(aten.bmm.default, X, Data(6, 4)),
    Case(aten.baddbmm.default, parameter(4, 4), X, Data(6, 4)),
    Case(aten.addmm.default, B, V, Data(6, 5, batch=None)),
    Case(aten.einsum.default, "ntd,nsd->nts", [X, Data(3, 6)]),
    Case(aten.inner.default, X, Data(3, 6)),
    Case(aten.bilinear.default, V, Data(6), parameter(2, 6, 6)),
    Case(aten._trilinear.default, V, Data(6), Data(6), [], [], [], [1]),
    Case(aten.addbmm.default, parameter(4, 4), X, Data(6, 4)),
    Case(aten.linalg_multi_dot.default, [V, W.T, W]),
    Case(aten.conv2d.default, IMAGE, Data(4, 3, 3)),
)


@pytest.mark.parametrize("case", SOURCES, ids=str)
def test_products_of_two_operands_are_sources(case):
    assert is_source(case)


def test_bias_is_a_constant_of_its_own():
    assert constants(Case(aten.linear.default, X, W, B)) == 1
    assert constants(Case(aten.linear.default, X, W)) == 0
    assert constants(Case(aten.linear.default, X, W, Data(4, 5))) == 0


def test_sums_over_several_axes_become_one_channel_axis():
    graph = Case(aten.einsum.default, "bnhd,hdo->bno", [Data(3, 2, 4), parameter(2, 4, 5)]).graph().linear
    steps = [v.step for v in graph.values if isinstance(v, Apply)]
    assert [s.fn for s in steps] == [torch.permute, torch.flatten, einsum_at]
    assert contracted_axis(steps[-1]) == -1
