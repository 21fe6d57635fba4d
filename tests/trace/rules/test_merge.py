import math

import pytest
import torch

from tests.trace.rules.contract import constants, is_source
from vitdecomp.testing import Case, Data, Frozen, RuleContract

aten = torch.ops.aten
X, Y = Data(4, 6), Data(4, 6)
ROW = torch.linspace(-1, 2, 6, dtype=torch.float64)
CLS = ROW.reshape(1, 1, 6)
MASK = torch.tensor([True, False, True, True, False, True])
TOKENS = Frozen(4, 1, make=lambda x: x > 0)
SIGN = Frozen(4, 6, make=lambda x: x > 0)


def infinite(x):
    return torch.where(x > 1, math.inf, torch.where(x < -1, math.nan, x))


class TestMerge(RuleContract):
    cases = (
        Case(aten.cat.default, [X, Data(2, 6)], 1),
        Case(aten.cat.default, [X, Data(4, 1), Data(4, 2)], -1),
        Case(aten.cat.default, [X, Y]),  # along the batch
        Case(aten.cat.default, [ROW.expand(2, 4, 6), X]),
        Case(aten.cat.default, [torch.zeros(0, dtype=torch.float64), X], 1),
        Case(aten.concat.default, [X, Y], 1),
        Case(aten.concatenate.default, [X, Y], 1),
        Case(aten.hstack.default, [X, Y]),
        Case(aten.vstack.default, [X, Y]),
        Case(aten.row_stack.default, [X, Y]),
        Case(aten.dstack.default, [X, Y]),
        Case(aten.column_stack.default, [X, Y]),
        Case(aten.stack.default, [X, Y]),
        Case(aten.stack.default, [X, Y, X], -1),
        Case(aten.where.self, MASK, X, Y),
        Case(aten.where.self, TOKENS, X, CLS),
        Case(aten.where.self, TOKENS, Data(1, 6), Data(1, 1)),
        Case(aten.where.ScalarOther, MASK, X, 2.0),
        Case(aten.where.ScalarSelf, MASK, -1.0, X),
        Case(aten.masked_fill.Scalar, X, MASK, 3.0),
        Case(aten.masked_fill.Tensor, X, TOKENS, torch.tensor(2.0, dtype=torch.float64)),
        Case(aten.nan_to_num.default, X, 0.0, 9.0, -9.0),
        Case(aten.where.self, SIGN, X, Y, opened=True),
        Case(aten.where.ScalarOther, SIGN, X, 0.0, opened=True),
        Case(aten.where.ScalarSelf, SIGN, 1.0, X, opened=True),
        Case(aten.masked_fill.Scalar, X, SIGN, 0.0, opened=True),
    )


@pytest.mark.parametrize(
    "case",
    [
        Case(aten.where.self, SIGN, X, Y),
        Case(aten.where.ScalarOther, SIGN, X, 0.0),
        Case(aten.where.Scalar, TOKENS, 1.0, 0.0),
        Case(aten.where.self, TOKENS, ROW, CLS),
        Case(aten.masked_fill.Scalar, X, SIGN, 0.0),
        Case(aten.hstack.default, [Data(), Data()]),
    ],
    ids=str,
)
def test_sources(case):
    assert is_source(case)


def test_fills_are_constants():
    assert constants(Case(aten.where.ScalarOther, MASK, X, 2.0)) == 1
    assert constants(Case(aten.where.self, MASK, X, Y)) == 0


def test_what_is_not_a_number_is_replaced():
    x = Frozen(40, make=infinite)
    run = Case(aten.nan_to_num.default, x, -7.0).graph()
    terms = run.captured.output
    assert terms.target is aten.nan_to_num.default
    values = x.make(torch.linspace(-2, 2, 40, dtype=torch.float64))
    from vitdecomp.trace.rules.merge import keep, replaced

    whole = keep(values, values.isfinite()) + replaced(values, -7.0)
    assert torch.equal(whole, values.nan_to_num(-7.0))
