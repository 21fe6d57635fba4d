from collections.abc import Iterator

import pytest
import torch
from forks import Fork, source
from torch import Tensor, fx

from tests.trace.rules.contract import is_source
from vitdecomp.errors import NoRuleError, SpecError
from vitdecomp.testing import Case, Data, Frozen, RuleContract
from vitdecomp.trace.rule import (
    OPENINGS,
    RULES,
    Gate,
    Op,
    data,
    frozen,
    gate,
    linear_terms,
    nonlinear,
    opened_terms,
    register_opening,
    register_rule,
    same,
)

aten = torch.ops.aten
X = Data(4, 6)


@torch.library.custom_op("vitdecomp_tests::reverse", mutates_args=())
def reverse(x: Tensor, dim: int = -1) -> Tensor:
    return x.flip(dim)


def _backward(ctx, grad):
    return grad.flip(ctx.dim), None


def _setup(ctx, inputs, output):
    ctx.dim = inputs[1]


reverse.register_autograd(_backward, setup_context=_setup)
OP = torch.ops.vitdecomp_tests.reverse


@pytest.fixture
def ruled() -> Iterator[None]:
    """A rule for the operation above, for one test."""

    @register_rule(OP)
    def rule(op, x, dim):
        return [data(x).then(torch.flip, (dim,))]

    yield
    RULES.remove(OP)


class TestCustomOperation(RuleContract):
    """The contract with an operation of one's own, as a plugin's author uses it."""

    cases = (Case(OP.default, X), Case(OP.default, X, 1), Case(OP.default, X, dim=1))

    @pytest.fixture(autouse=True)
    def _registered(self, ruled: None) -> None: ...


def node(case: Case) -> fx.Node:
    return case.graph().captured.output


def test_unknown_operation_names_op_module_node_and_remedy():
    with pytest.raises(NoRuleError) as raised:
        linear_terms(node(Case(OP.default, X)))
    message = str(raised.value)
    assert "vitdecomp_tests.reverse.default" in message
    assert "block.module" in message
    assert f"node {node(Case(OP.default, X)).name}" in message
    assert "register_rule" in message
    assert "docs/how-to/rule.md" in message
    assert "\n" not in message


def test_the_rule_to_begin_with_makes_a_linear_operation_exact():
    case = Case(OP.default, X, 1)
    with pytest.raises(NoRuleError) as raised:
        linear_terms(node(case))
    try:
        exec(compile(raised.value.stub, "stub", "exec"), {})
        (term,) = linear_terms(node(case)) or []
    finally:
        RULES.remove(OP)
    assert [step.fn.__name__ for step in term.steps] == ["apply_reverse"]
    x = torch.randn(4, 6)
    assert torch.equal(term.steps[0].fn(x, *term.steps[0].args), OP(x, 1))


def test_walk_raises_where_the_path_meets_an_unknown_operation():
    with pytest.raises(NoRuleError):
        _ = Case(OP.default, X).graph().linear


def test_registering_twice_is_refused(ruled: None):
    with pytest.raises(SpecError, match="registered already"):
        register_rule(OP)(lambda op, x, dim: None)


def test_registering_with_replace_takes_the_place(ruled: None):
    register_rule(OP, replace=True)(lambda op, x, dim: None)
    assert is_source(Case(OP.default, X))


FIRST = """
import torch, vitdecomp as vd

@vd.register_rule(torch.ops.aten.roll, replace=True)
def mine(op, x, *rest):
    return None

from vitdecomp.trace.rule import RULES
import vitdecomp.trace.rules
assert RULES[torch.ops.aten.roll] is mine
"""


def test_a_rule_that_is_registered_before_anything_is_traced_takes_the_place_of_ours():
    fork = Fork(source, FIRST)
    assert fork.communicate() == ("", "")
    assert fork.returncode == 0


def test_a_rule_for_one_overload_goes_before_that_for_all():
    assert is_source(Case(aten.view.dtype, X, torch.float32))
    assert not is_source(Case(aten.view.default, X, [-1, 24]))


def test_declared_nonlinear_is_a_source():
    nonlinear("test", OP)
    try:
        assert is_source(Case(OP.default, X))
    finally:
        from vitdecomp.trace.rule import NONLINEAR

        NONLINEAR.remove(OP)


def test_opening():
    assert opened_terms(node(Case(OP.default, X))) is None

    @register_opening(OP)
    def opening(op, x, dim):
        return [data(x).then(torch.flip, (dim,))]

    try:
        (term,) = opened_terms(node(Case(OP.default, X))) or ()
        assert term.steps[0].fn is torch.flip
    finally:
        OPENINGS.remove(OP)


def test_decorators_return_the_function_itself():
    def rule(op, x, dim):
        return None

    try:
        assert register_rule(OP)(rule) is rule
    finally:
        RULES.remove(OP)


@pytest.mark.parametrize(
    ("case", "positional", "keywords"),
    [
        (Case(aten.add.Tensor, X, X), 2, {}),
        (Case(aten.add.Tensor, X, X, alpha=2), 2, {"alpha": 2}),
        (Case(aten.mean.dim, X, [1]), [None, [1], False], {}),
        (Case(aten.mean.dim, X, dim=[1], keepdim=True), [None, [1], True], {}),
        (Case(aten.layer_norm.default, X, [6]), [None, [6], None, None, 1e-5, True], {}),
        (Case(aten.baddbmm.default, X, X, X, alpha=3), 3, {"alpha": 3}),
    ],
    ids=str,
)
def test_arguments_are_filled_up_from_the_schema(case, positional, keywords):
    target = fx.Graph()
    x = target.placeholder("x")
    args, kwargs = fx.node.map_aggregate((case.args, case.kwargs), lambda a: x if isinstance(a, Data) else a)
    got, named = Op(target.call_function(case.op, args, kwargs)).arguments()
    assert named == keywords
    if isinstance(positional, int):
        assert got == [x] * positional
    else:
        assert got[1:] == positional[1:]


def test_op_of_one_output_of_several():
    op = Op(node(Case(aten.split.Tensor, X, 2, 1, pick=1)))
    assert (op.index, op.target, op.shape) == (1, aten.split.Tensor, (3, 2, 6))
    assert op.call is op.node.args[0]


def test_a_path_does_not_go_on_into_whole_numbers():
    order = Frozen(4, 6, make=lambda x: x.argsort(-1))
    assert is_source(Case(aten._to_copy.default, order, dtype=torch.float64))
    assert is_source(Case(aten.sum.default, Frozen(4, make=lambda x: x > 0)))


def test_a_path_does_not_go_on_where_the_image_is_in_gates_alone():
    mask = Frozen(4, 1, make=lambda x: x > 0)
    table = torch.ones(4, 6, dtype=torch.float64)
    assert is_source(Case(aten.where.self, mask, table, -table))
    assert not is_source(Case(aten.where.self, mask, table, X))
    assert not is_source(Case(aten.expand_as.default, table, X))  # the image gives its size alone


def test_lists_in_terms_become_comparable():
    graph = fx.Graph()
    x = graph.placeholder("x")
    assert data(x).then(torch.flip, [0, [1, 2]]).steps[0].args == ((0, (1, 2)),)
    assert gate(same, [x]) == Gate(same, ((x,),))
    assert hash(frozen("mean", same, [1, 2])) == hash(frozen("mean", same, (1, 2)))
