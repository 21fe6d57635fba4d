"""The contract of an operation's rule, for tests to inherit. See docs/how-to/rule.md.

    class TestRoll(RuleContract):
        cases = [Case(torch.ops.aten.roll.default, Data(3, 4), [1], [1])]

The rule's terms are compared with the operation itself: they add up to its value, they are linear, and they are its
Jacobian (with the gates frozen).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from vitdecomp.testing.operation import TRIAL, Case, Run

if TYPE_CHECKING:
    import pytest


class RuleContract:
    """What every rule must do. Inherit it in a class whose name begins with `Test`, and run pytest.

    Attributes:
        cases: calls of the operation.
    """

    cases: ClassVar[Sequence[Case]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test for each case."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=str)

    def test_terms_sum_to_the_output(self, case: Case) -> None:
        """They do so for several numbers of images."""
        for n in case.sizes:
            run = case.trial if n == TRIAL else case.graph().run(n)
            _close(run(run.leaves), run.output, case)
            _close(run.output, case.call(run.operands), case)

    def test_terms_are_the_frozen_jacobian(self, case: Case) -> None:
        """They are linear, forwards, backwards and in stacks, and what the operation does to a small change."""
        run = case.trial
        check_linear(run, case)
        check_jacobian(run, case)
        check_adjoint(run, case)
        check_vmap(run, case)


def check_linear(run: Run, case: Case) -> None:
    """Check that the terms are additive and homogeneous in all leaves."""
    a, b = run.random(1), run.random(2)
    both = {i: 2.5 * a[i] - 0.75 * b[i] for i in a}
    _close(run(both), 2.5 * run(a) - 0.75 * run(b), case)


def check_jacobian(run: Run, case: Case) -> None:
    """Check that the terms are the Jacobian of the operation, or of the formula with its gates detached."""

    def reference(*operands: Tensor) -> Tensor:
        return case.call(operands, case.formula)

    tangents, by_operand = run.tangents(3)
    value, expected = _jvp(reference, run, by_operand)
    _close(value, run.output, case)
    _close(run(tangents) if tangents else torch.zeros_like(value), expected, case)


def check_adjoint(run: Run, case: Case) -> None:
    """Check that one backward pass gives <q, A t> for every t."""
    leaves = {i: x.clone().requires_grad_() for i, x in run.random(4).items()}
    output = run(leaves)
    q = torch.randn(output.shape, generator=torch.Generator().manual_seed(5), dtype=output.dtype)
    grads = torch.autograd.grad(output, list(leaves.values()), q)
    tangents = run.random(6)
    pulled = sum(_dot(g, t) for g, t in zip(grads, tangents.values(), strict=True))
    _close(_dot(q, run(tangents)), pulled, case)


def check_vmap(run: Run, case: Case) -> None:
    """Check that a stack of values goes through at once, in any memory layout, and without a loop."""
    rows = [run.random(seed) for seed in (7, 8)]
    expected = torch.stack([run(row) for row in rows])
    stacks = {i: torch.stack([row[i] for row in rows]) for i in run.leaves}
    last = {i: x.movedim(2, -1).contiguous().movedim(-1, 2) if x.ndim > 3 else x for i, x in stacks.items()}
    torch_c: Any = torch._C
    torch_c._functorch._set_vmap_fallback_enabled(False)
    try:
        results = [torch.vmap(run)(leaves) for leaves in (stacks, last)]
    finally:
        torch_c._functorch._set_vmap_fallback_enabled(True)
    for result in results:
        _close(result, expected, case)


def _jvp(fn: Callable[..., Tensor], run: Run, tangents: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Compute a value and a Jacobian-vector product, by backward passes: all that can be trained has those."""
    moving = [i for i, p in enumerate(run.place) if p is not None]
    if not moving:
        return fn(*run.operands), torch.zeros_like(run.output)

    def of_data(*values: Tensor) -> Tensor:
        operands = list(run.operands)
        for i, value in zip(moving, values, strict=True):
            operands[i] = value
        return fn(*operands)

    values, directions = tuple(run.operands[i] for i in moving), tuple(tangents[i] for i in moving)
    try:
        return torch.autograd.functional.jvp(of_data, values, directions)  # type: ignore[no-untyped-call,no-any-return]
    except RuntimeError as error:  # older versions of torch cannot differentiate every backward pass again
        if "derivative for" not in str(error):
            raise
    jacobians = torch.autograd.functional.jacobian(of_data, values)  # type: ignore[no-untyped-call]
    product = torch.stack([torch.tensordot(j, t, t.ndim) for j, t in zip(jacobians, directions, strict=True)]).sum(0)
    return of_data(*values), product


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real.sum()


def _close(got: Any, expected: Any, case: Case) -> None:
    error = 1e-5 if any(o.dtype is torch.float32 for o in case.operands) else 1e-12
    torch.testing.assert_close(got, expected, rtol=error, atol=error, check_dtype=False)
