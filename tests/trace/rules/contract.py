"""The contract of an operation's rule, for tests to inherit.

    class TestRoll(RuleContract):
        cases = [Case(torch.ops.aten.roll.default, Data(3, 4), [1], [1])]

Every case is one call of an operation. It is put into a graph of its own, with the operands that depend on
the images as sources, and the rule's terms are compared with the operation itself: they add up to its value,
they are linear, and they are its Jacobian (with the gates frozen).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, fx

from vitdecomp.trace import rules  # noqa: F401  the rules register themselves
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import CONSTANT, LinearGraph
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate, linear_terms
from vitdecomp.trace.walk import walk

TRIAL = 3
SIZES = (3, 2, 5)


class Data:
    """An operand that depends on the images, a source of the case's graph.

    Args:
        shape: the shape for one image.
        batch: the axis that the images lie along; `None` if there is none.
        dtype: a real or complex format.
    """

    def __init__(self, *shape: int, batch: int | None = 0, dtype: torch.dtype = torch.float64) -> None:
        self.shape, self.batch, self.dtype = shape, batch, dtype
        self.make: Callable[[Tensor], Tensor] = torch.ops.aten.asinh.default

    def value(self, n: int, source: torch.Generator) -> Tensor:
        """Standard normal numbers for n images."""
        size = list(self.shape)
        if self.batch is not None:
            size.insert(self.batch, n)
        return torch.randn(size, generator=source, dtype=self.dtype)


class Frozen(Data):
    """An operand that depends on the images but is no data: a mask, indices.

    Args:
        shape: the shape for one image.
        make: how it is made of standard normal numbers.
        batch: the axis that the images lie along.
    """

    def __init__(self, *shape: int, make: Callable[[Tensor], Tensor], batch: int | None = 0) -> None:
        super().__init__(*shape, batch=batch)
        self.make = make


@dataclass(frozen=True, slots=True)
class Size:
    """The length of an axis of the first operand, as a node of the graph."""

    dim: int = 0


class Case:
    """One call of an operation.

    Args:
        op: an overload, `torch.ops.aten.roll.default`.
        args: its arguments; `Data` and `Frozen` stand for operands that depend on the images, `Size` for the
            number of images, a tensor for a parameter.
        pick: which of several outputs.
        formula: the operation in plain Python, differentiable, with every gate detached. None means that the
            operation itself is linear in its data.
        opened: whether the operation is walked through by its opening instead of its rule.
        sizes: the batch sizes to try.
        kwargs: keyword arguments.
    """

    def __init__(
        self,
        op: Callable[..., Any],
        *args: Any,
        pick: int | None = None,
        formula: Callable[..., Tensor] | None = None,
        opened: bool = False,
        sizes: Sequence[int] = SIZES,
        **kwargs: Any,
    ) -> None:
        self.op, self.args, self.kwargs, self.pick = op, args, kwargs, pick
        self.formula, self.opened, self.sizes = formula, opened, tuple(sizes)

    def __str__(self) -> str:
        return str(self.op).removeprefix("aten.")

    @property
    def operands(self) -> list[Data]:
        """Data and frozen operands, in the order of the arguments."""
        found: list[Any] = []
        fx.node.map_aggregate((self.args, self.kwargs), found.append)
        return [a for a in found if isinstance(a, Data)]

    def inputs(self, n: int, seed: int = 0) -> list[Tensor]:
        """Values of the placeholders."""
        source = torch.Generator().manual_seed(seed)
        return [operand.value(n, source) for operand in self.operands]

    def call(self, operands: Sequence[Any], fn: Callable[..., Any] | None = None) -> Tensor:
        """The operation (or another function) on given operands."""
        args, kwargs = self._arguments(operands, lambda size: operands[0].shape[size.dim])
        result = (fn or self.op)(*args, **kwargs)
        return result if self.pick is None or fn is not None else result[self.pick]

    def _arguments(self, operands: Sequence[Any], length: Callable[[Size], Any]) -> tuple[Any, Any]:
        values = iter(operands)

        def fill(value: Any) -> Any:
            if isinstance(value, Data):
                return next(values)
            return length(value) if isinstance(value, Size) else value

        return fx.node.map_aggregate((self.args, self.kwargs), fill)  # type: ignore[no-any-return]

    @cached_property
    def trial(self) -> Run:
        """The recorded run on the trial batch."""
        return self.graph().run(TRIAL)

    def graph(self) -> Traced:
        """The call in a graph of its own, annotated as `capture` does it."""
        root, graph = torch.nn.Module(), fx.Graph()
        images = [graph.placeholder(f"x{i}") for i, _ in enumerate(self.operands)]
        made = [graph.call_function(o.make, (x,)) for o, x in zip(self.operands, images, strict=True)]
        count = torch.ops.aten.sym_size.int
        args, kwargs = self._arguments(made, lambda size: graph.call_function(count, (made[0], size.dim)))
        args, kwargs = fx.node.map_aggregate((args, kwargs), lambda a: _parameter(root, graph, a))
        node = graph.call_function(self.op, args, kwargs)
        if self.pick is not None:
            node = graph.call_function(operator.getitem, (node, self.pick))
        graph.output(node)
        module = fx.GraphModule(root, graph)
        _annotate(module, self)
        trial = self.inputs(TRIAL)
        return Traced(Captured(module, images[0], node, trial[0], "test", None), self, made)


@dataclass(frozen=True, slots=True)
class Traced:
    """A case's graph and its linear map."""

    captured: Captured
    case: Case
    made: list[fx.Node]

    @property
    def linear(self) -> LinearGraph:
        """The linear map that the rule makes."""
        return walk(self.captured, frozenset({self.captured.output}) if self.case.opened else frozenset())

    def run(self, n: int) -> Run:
        """Record everything on n images."""
        linear = self.linear
        recorder = Recorder(self.captured, linear.gates())
        with torch.no_grad():
            output, values = recorder.module(*self.case.inputs(n))
        recorded: dict[Gate, Any] = dict(zip(recorder.gates, values, strict=True))
        nodes = [leaf.node for leaf in linear.leaves.values()]
        operands = [o.make(x) for o, x in zip(self.case.operands, self.case.inputs(n), strict=True)]
        place = [nodes.index(m) if m in nodes else None for m in self.made]
        return Run(linear, recorded, output, operands, place)


@dataclass(frozen=True, slots=True)
class Run:
    """One recorded run of a case.

    Attributes:
        linear: the linear map. recorded: its gates. output: the operation's value.
        operands: values of the operands. place: for each operand its leaf, counted among the leaves.
    """

    linear: LinearGraph
    recorded: Mapping[Gate, Any]
    output: Tensor
    operands: list[Tensor]
    place: list[int | None]

    @property
    def leaves(self) -> dict[int, Tensor]:
        """Recorded values of all leaves."""
        return {i: self.recorded[leaf.value] for i, leaf in self.linear.leaves.items()}

    def random(self, seed: int) -> dict[int, Tensor]:
        """Random values for all leaves."""
        source = torch.Generator().manual_seed(seed)
        return {i: torch.randn(x.shape, generator=source, dtype=x.dtype) for i, x in self.leaves.items()}

    def tangents(self, seed: int) -> tuple[dict[int, Tensor], list[Tensor]]:
        """Random values for the leaves that are operands, by leaf and by operand (zero for frozen ones)."""
        random, at = self.random(seed), list(self.linear.leaves)
        chosen = {at[p]: random[at[p]] for p in self.place if p is not None}
        placed = zip(self.operands, self.place, strict=True)
        return chosen, [torch.zeros_like(x) if p is None else random[at[p]] for x, p in placed]

    def __call__(self, leaves: Mapping[int, Tensor]) -> Tensor:
        return self.linear.evaluate(self.recorded, leaves)


class RuleContract:
    """Tests that every rule has to pass; a subclass lists its `cases`."""

    cases: ClassVar[Sequence[Case]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=str)

    def test_terms_sum_to_the_output(self, case: Case) -> None:
        for n in case.sizes:
            run = case.trial if n == TRIAL else case.graph().run(n)
            _close(run(run.leaves), run.output, case)
            _close(run.output, case.call(run.operands), case)

    def test_terms_are_the_frozen_jacobian(self, case: Case) -> None:
        run = case.trial
        check_linear(run, case)
        check_jacobian(run, case)
        check_adjoint(run, case)
        check_vmap(run, case)


def check_linear(run: Run, case: Case) -> None:
    """The terms are additive and homogeneous in all leaves."""
    a, b = run.random(1), run.random(2)
    both = {i: 2.5 * a[i] - 0.75 * b[i] for i in a}
    _close(run(both), 2.5 * run(a) - 0.75 * run(b), case)


def check_jacobian(run: Run, case: Case) -> None:
    """The terms are the Jacobian of the operation, or of the formula with its gates detached."""

    def reference(*operands: Tensor) -> Tensor:
        return case.call(operands, case.formula)

    tangents, by_operand = run.tangents(3)
    value, expected = _jvp(reference, run, by_operand)
    _close(value, run.output, case)
    _close(run(tangents) if tangents else torch.zeros_like(value), expected, case)


def check_adjoint(run: Run, case: Case) -> None:
    """One backward pass gives <q, A t> for every t."""
    leaves = {i: x.clone().requires_grad_() for i, x in run.random(4).items()}
    output = run(leaves)
    q = torch.randn(output.shape, generator=torch.Generator().manual_seed(5), dtype=output.dtype)
    grads = torch.autograd.grad(output, list(leaves.values()), q)
    tangents = run.random(6)
    pulled = sum(_dot(g, t) for g, t in zip(grads, tangents.values(), strict=True))
    _close(_dot(q, run(tangents)), pulled, case)


def check_vmap(run: Run, case: Case) -> None:
    """A stack of values goes through at once, in any memory layout, and without a loop."""
    rows = [run.random(seed) for seed in (7, 8)]
    expected = torch.stack([run(row) for row in rows])
    stacks = {i: torch.stack([row[i] for row in rows]) for i in run.leaves}
    last = {i: x.movedim(2, -1).contiguous().movedim(-1, 2) if x.ndim > 3 else x for i, x in stacks.items()}
    torch._C._functorch._set_vmap_fallback_enabled(False)
    try:
        results = [torch.vmap(run)(leaves) for leaves in (stacks, last)]
    finally:
        torch._C._functorch._set_vmap_fallback_enabled(True)
    for result in results:
        _close(result, expected, case)


def is_source(case: Case) -> bool:
    """Whether the rule lets the path end at a case's call."""
    return linear_terms(case.graph().captured.output) is None


def constants(case: Case) -> int:
    """How many constants the rule finds."""
    return sum(leaf.kind == CONSTANT for leaf in case.graph().linear.leaves.values())


def _jvp(fn: Callable[..., Tensor], run: Run, tangents: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Value and Jacobian-vector product, by backward passes: every operation that can be trained has those."""
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
        return torch.autograd.functional.jvp(of_data, values, directions)  # type: ignore[no-any-return]
    except RuntimeError as error:  # older versions of torch cannot differentiate every backward pass again
        if "derivative for" not in str(error):
            raise
    jacobians = torch.autograd.functional.jacobian(of_data, values)
    product = sum(torch.tensordot(j, t, t.ndim) for j, t in zip(jacobians, directions, strict=True))
    return of_data(*values), product


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real.sum()


def _close(got: Any, expected: Any, case: Case) -> None:
    error = 1e-5 if any(o.dtype is torch.float32 for o in case.operands) else 1e-12
    torch.testing.assert_close(got, expected, rtol=error, atol=error, check_dtype=False)


def _parameter(root: torch.nn.Module, graph: fx.Graph, value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    name = f"parameter_{len(list(root.buffers()))}"
    root.register_buffer(name, value)
    return graph.get_attr(name)


class _Sized(fx.Interpreter):
    """A run that notes the shape and dtype of every value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.values[n] = value
        return value


def _annotate(module: fx.GraphModule, case: Case) -> None:
    """Note what `capture` notes: shapes on the trial batch, and which of them depend on the batch."""
    runs = []
    for n in (TRIAL, max(case.sizes)):
        runs.append(_Sized(module))
        runs[-1].run(*case.inputs(n))
    for node in module.graph.nodes:
        counts = node.target is torch.ops.aten.sym_size.int
        moving = any(i.meta["varies"] for i in node.all_input_nodes)
        node.meta["varies"] = node.op == "placeholder" or (moving and not counts)
        node.meta["module"] = "block.module"
        if node in runs[0].values:
            value, other = (run.values[node] for run in runs)
            node.meta["trial_shape"], node.meta["trial_dtype"] = tuple(value.shape), value.dtype
            sizes = zip(value.shape, other.shape, strict=True)
            node.meta["static"] = tuple(a == b for a, b in sizes)


def error_of_sum(captured: Captured, graph: LinearGraph, images: Tensor) -> float:
    """|sum of all leaves' contributions - output| / |output| of a whole model."""
    output, recorded = Recorder(captured, graph.gates())(images)
    with torch.no_grad():
        total = graph.evaluate(recorded, {i: recorded[leaf.value] for i, leaf in graph.leaves.items()})
    return float((total - output).norm() / output.norm())
