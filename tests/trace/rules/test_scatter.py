import pytest
import torch

from tests.trace.rules.contract import constants, is_source
from vitdecomp.testing import Case, Data, Frozen, RuleContract

aten = torch.ops.aten
X, IMAGE = Data(4, 6), Data(4, 5, 5)
PLACES = torch.tensor([2, 0])
MASK = torch.tensor([True, False, True, True, False, True])
ORDER = Frozen(4, 6, make=lambda x: x.argsort(1))
TWICE = Frozen(4, 6, make=lambda x: x.argsort(1) // 2)
ZERO = torch.zeros((), dtype=torch.float64)
SIGN = Frozen(4, 6, make=lambda x: x > 0)


class TestScatter(RuleContract):
    cases = (
        Case(aten.slice_scatter.default, X, Data(2, 6), 1, 1, 3),
        Case(aten.slice_scatter.default, X, Data(4, 3), -1, 0, 6, 2),
        Case(aten.slice_scatter.default, torch.ones(4, 6, dtype=torch.float64), Data(2, 6, batch=None), 0, 2),
        Case(aten.slice_scatter.default, X, Data(3, 6), 1, 1, 2**63 - 1),
        Case(aten.slice_scatter.default, X, Data(4, 2), 2, -2, 2**63 - 1),
        Case(aten.slice_scatter.default, X, Data(4, 3), 2, 1, 2**63 - 1, 2),
        Case(aten.slice_scatter.default, X, Data(4, 6), 0, 0, 2**63 - 1),
        Case(aten.select_scatter.default, X, Data(6), 1, -1),
        Case(aten.select_scatter.default, X, Data(4), -1, 2),
        Case(aten.diagonal_scatter.default, X, Data(4), 0, 1, 2),
        Case(aten.index_put.default, X, [None, PLACES], Data(2, 6)),
        Case(aten.index_put.default, X, [None, PLACES], Data(1, 6), True),
        Case(aten.index_put.default, X, [None, None, MASK], ZERO),
        Case(aten.index_put.default, IMAGE, [None, PLACES, None, PLACES], Data(2, 5, batch=1), False),
        Case(aten._unsafe_index_put.default, X, [None, PLACES], Data(2, 6)),
        Case(aten.scatter.src, X, 1, ORDER, Data(4, 6)),
        Case(aten.scatter_add.default, X, 1, TWICE, Data(4, 6)),
        Case(aten.scatter.value, X, 1, ORDER, 2.0),
        Case(aten.scatter.value, X, 1, Frozen(2, 3, make=lambda x: x.argsort(1)), 2.0),
        Case(aten.scatter_reduce.two, X, 1, TWICE, Data(4, 6), "sum"),
        Case(aten.scatter_reduce.two, X, 1, TWICE, Data(4, 6), "mean"),
        Case(aten.scatter_reduce.two, X, 1, TWICE, Data(4, 6), "mean", include_self=False),
        Case(aten.scatter_reduce.two, X, 1, TWICE, Data(4, 6), "sum", include_self=False),
        Case(aten.index_add.default, X, 1, PLACES, Data(2, 6), alpha=-2),
        Case(aten.index_copy.default, X, 1, PLACES, Data(2, 6)),
        Case(aten.index_fill.int_Scalar, X, 2, PLACES, 4.0),
        Case(aten.masked_scatter.default, X, MASK, Data(16)),
    )


@pytest.mark.parametrize(
    "case",
    [
        Case(aten.index_put.default, X, [SIGN], ZERO),  # x[x > 0] = 0
        Case(aten.scatter_reduce.two, X, 1, ORDER, Data(4, 6), "amax"),
        Case(aten.masked_scatter.default, X, SIGN, Data(4, 6)),
    ],
    ids=str,
)
def test_sources(case):
    assert is_source(case)


def test_numbers_are_constants():
    assert constants(Case(aten.scatter.value, X, 1, ORDER, 2.0)) == 1
    assert constants(Case(aten.index_fill.int_Scalar, X, 2, PLACES, 4.0)) == 1
