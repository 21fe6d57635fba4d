"""One call of an operation in a graph of its own, with the operands that depend on the images as sources."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate

from vitdecomp.trace import rules  # noqa: F401  the rules register themselves
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import LinearGraph
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate
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
        """Draw standard normal numbers for n images."""
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
        map_aggregate((self.args, self.kwargs), found.append)
        return [a for a in found if isinstance(a, Data)]

    def inputs(self, n: int, seed: int = 0) -> list[Tensor]:
        """Values of the placeholders."""
        source = torch.Generator().manual_seed(seed)
        return [operand.value(n, source) for operand in self.operands]

    def call(self, operands: Sequence[Any], fn: Callable[..., Any] | None = None) -> Tensor:
        """Call the operation (or another function) on given operands."""
        args, kwargs = self._arguments(operands, lambda size: operands[0].shape[size.dim])
        result = (fn or self.op)(*args, **kwargs)
        picked: Tensor = result if self.pick is None or fn is not None else result[self.pick]
        return picked

    def _arguments(self, operands: Sequence[Any], length: Callable[[Size], Any]) -> tuple[Any, Any]:
        values = iter(operands)

        def fill(value: Any) -> Any:
            if isinstance(value, Data):
                return next(values)
            return length(value) if isinstance(value, Size) else value

        return map_aggregate((self.args, self.kwargs), fill)

    @cached_property
    def trial(self) -> Run:
        """The recorded run on the trial batch."""
        return self.graph().run(TRIAL)

    def graph(self) -> Traced:
        """Put the call into a graph of its own, annotated as `capture` does it."""
        root, graph = torch.nn.Module(), fx.Graph()
        images = [graph.placeholder(f"x{i}") for i, _ in enumerate(self.operands)]
        made = [graph.call_function(o.make, (x,)) for o, x in zip(self.operands, images, strict=True)]
        count = torch.ops.aten.sym_size.int
        args, kwargs = self._arguments(made, lambda size: graph.call_function(count, (made[0], size.dim)))
        args, kwargs = map_aggregate((args, kwargs), lambda a: _parameter(root, graph, a))
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
        """Evaluate the linear map on values of its leaves."""
        return self.linear.evaluate(self.recorded, leaves)


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
