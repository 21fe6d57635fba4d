import pytest
import torch

from tests.trace.rules.contract import constants, is_source
from vitdecomp.testing import Case, Data, Frozen, RuleContract

aten = torch.ops.aten
X, Y = Data(4, 5), Data(4, 5)
ROW = torch.linspace(-1, 2, 5, dtype=torch.float64)
FIELD = torch.linspace(-2, 1, 20, dtype=torch.float64).reshape(4, 5)
INDEX = Frozen(4, 5, make=lambda x: x.argsort(-1))
F32 = torch.float32


def gated(a, b, **_):
    return a * b.detach()


def second(a, b):
    return 0 * a + b


class TestArithmetic(RuleContract):
    cases = (
        Case(aten.add.Tensor, X, Y),
        Case(aten.add.Tensor, X, Data(1, 5)),
        Case(aten.add.Tensor, X, ROW, alpha=-3),
        Case(aten.add.Tensor, ROW, X),
        Case(aten.add.Scalar, X, 128.0, 2),
        Case(aten.sub.Tensor, X, Y, alpha=2),
        Case(aten.sub.Tensor, ROW, X),
        Case(aten.sub.Scalar, X, 0.5),
        Case(aten.subtract.Tensor, X, Y),
        Case(aten.rsub.Tensor, X, Data(4, 1), alpha=0.5),
        Case(aten.rsub.Scalar, X, 1.0, 2),
        Case(aten.neg.default, X),
        Case(aten.negative.default, X),
        Case(aten.mul.Tensor, X, ROW),
        Case(aten.mul.Tensor, ROW, X),
        Case(aten.mul.Tensor, Data(5), FIELD[None, :1]),  # the parameter has more axes than the data
        Case(aten.mul.Scalar, X, 2.5),
        Case(aten.mul.Tensor, X, Data(4, 1), formula=gated),
        Case(aten.mul.Tensor, Data(1, 5), X, formula=lambda a, b: a.detach() * b),
        Case(aten.mul.Tensor, X, Frozen(4, 1, make=lambda x: x > 0), formula=gated),
        Case(aten.multiply.Tensor, X, ROW),
        Case(aten.div.Tensor, X, ROW),
        Case(aten.div.Tensor, Data(4, 1), ROW),
        Case(aten.div.Tensor, X, Data(4, 1), formula=lambda a, b: a / b.detach()),
        Case(aten.div.Tensor_mode, X, 3.0, rounding_mode=None),
        Case(aten.div.Scalar, X, 3.0),
        Case(aten.divide.Tensor, X, ROW),
        Case(aten.true_divide.Tensor, X, ROW),
        Case(aten.addcmul.default, X, Y, ROW, value=2),
        Case(aten.addcmul.default, X, ROW, Y),
        Case(aten.addcmul.default, ROW, Data(4, 1), FIELD),
        Case(aten.addcmul.default, X, Y, Data(4, 1), formula=lambda x, a, b: x + a * b.detach()),
        Case(aten.addcdiv.default, X, Y, ROW, value=-2),
        Case(aten.addcdiv.default, X, Y, Data(4, 1), formula=lambda x, a, b: x + a / b.detach()),
        Case(aten.lerp.Scalar, X, Y, 0.3),
        Case(aten.lerp.Tensor, X, ROW, FIELD),
        Case(aten.lerp.Tensor, ROW, X, ROW),
        Case(aten.lerp.Tensor, X, Y, Data(4, 1), formula=lambda a, b, w: torch.lerp(a, b, w.detach())),
        Case(aten.sum.dim_IntList, X, [-1], True),
        Case(aten.sum.dim_IntList, X, [0, 2]),
        Case(aten.sum.dim_IntList, X, None),
        Case(aten.sum.dim_IntList, X, []),
        Case(aten.sum.default, X),
        Case(aten.mean.dim, X, [1, -1]),
        Case(aten.mean.dim, X, [-2], keepdim=True),
        Case(aten.mean.dim, Data(4, dtype=F32), [1], dtype=torch.float64),
        Case(aten.mean.default, X),
        Case(aten.cumsum.default, X, -1),
        Case(aten.diff.default, X, 2, 1),
        Case(aten._to_copy.default, X),
        Case(aten._to_copy.default, Data(4, dtype=F32), dtype=torch.float64),
        Case(aten.to.dtype, X, torch.float64),
        Case(aten.type_as.default, X, ROW),
        Case(aten.alias.default, X),
        Case(aten.alias_copy.default, X),
        Case(aten.detach.default, X, formula=lambda x: x * 1),
        Case(aten.detach_copy.default, X, formula=lambda x: x * 1),
        Case(aten.clone.default, X),
        Case(aten.contiguous.default, X),
        Case(aten.positive.default, X),
        Case(aten.lift_fresh.default, X),
        Case(aten.lift_fresh_copy.default, X),
        Case(aten.resolve_conj.default, X),
        Case(aten.resolve_neg.default, X),
        Case(aten.dropout.default, X, 0.5, False),
        Case(aten.feature_dropout.default, X, 0.5, False),
        Case(aten.alpha_dropout.default, X, 0.5, False),
        Case(aten.feature_alpha_dropout.default, X, 0.5, False),
        Case(aten.native_dropout.default, X, 0.5, False, pick=0),
        Case(aten.copy.default, X, Y, formula=second),
        Case(aten.copy.default, X, Data(1, 5), formula=second),
        Case(aten.copy.default, X, ROW, formula=second),
        Case(aten.copy.default, X, Data(4, 5, dtype=F32), formula=second),
        Case(aten.fill.Scalar, X, 2.0),
        Case(aten.fill.Tensor, X, torch.tensor(3.0, dtype=torch.float64)),
        Case(aten.mul.Tensor, X, Y, opened=True, formula=gated),
        Case(aten.multiply.Tensor, X, Data(4, 1), opened=True, formula=gated),
        Case(aten.div.Tensor, X, Y, opened=True, formula=lambda a, b: a / b.detach()),
        Case(aten.divide.Tensor, X, Y, opened=True, formula=lambda a, b: a / b.detach()),
        Case(aten.true_divide.Tensor, X, Y, opened=True, formula=lambda a, b: a / b.detach()),
    )


SOURCES = (
    Case(aten.mul.Tensor, X, Y),
    Case(aten.mul.Tensor, X, Frozen(4, 5, make=lambda x: x > 0)),  # a ReLU in disguise
    Case(aten.mul.Tensor, Frozen(4, 5, make=lambda x: x > 0), FIELD),
    Case(aten.div.Tensor, X, Y),
    Case(aten.div.Tensor, ROW, X),
    Case(aten.div.Tensor_mode, X, 3.0, rounding_mode="floor"),
    Case(aten.div.Tensor_mode, X, 3.0, rounding_mode="trunc"),
    Case(aten.addcmul.default, X, Y, Data(4, 5)),
    Case(aten.addcdiv.default, X, ROW, Y),
    Case(aten.addcdiv.default, X, Y, Data(4, 5)),
    Case(aten.lerp.Tensor, X, Y, Data(4, 5)),
    Case(aten.dropout.default, X, 0.5, True),
    Case(aten.native_dropout.default, X, 0.5, False, pick=1),
    Case(aten._to_copy.default, INDEX, dtype=torch.float64),
    Case(aten.mean.dim, INDEX, [1], dtype=torch.float64),
    Case(aten.sum.dim_IntList, Frozen(4, make=lambda x: x > 0), [1]),
)


@pytest.mark.parametrize("case", SOURCES, ids=str)
def test_sources(case):
    assert is_source(case)


def test_expanded_gate_is_still_a_gate():
    """Squeeze-excite as it was first written: x * s.expand_as(x)."""
    gate = Frozen(1, 5, make=torch.sigmoid)
    graph = Case(aten.mul.Tensor, X, gate).graph()
    node = graph.captured.output
    with node.graph.inserting_before(node):
        wide = node.graph.call_function(aten.expand.default, (graph.made[1], [-1, 4, 5]))
    wide.meta.update(graph.made[1].meta, trial_shape=(3, 4, 5))
    node.args = (graph.made[0], wide)
    (leaf,) = graph.linear.leaves.values()
    assert leaf.node is graph.made[0]


def test_scalars_are_constants():
    assert constants(Case(aten.add.Scalar, X, 128.0)) == 1
    assert constants(Case(aten.mul.Scalar, X, 2.0)) == 0
