"""One run of the model that also records what the linear graph needs: leaves and gates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, reduce
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.trace.capture import Captured
from vitdecomp.trace.footprint import peak_bytes
from vitdecomp.trace.rule import BY_SHAPE, Gate, same, shape
from vitdecomp.trace.rules.arithmetic import cast
from vitdecomp.trace.rules.attention import no_larger

ROOM: Mapping[str, int] = MappingProxyType({"cpu": 2**29})
"""How many bytes a run may hold at once, by the kind of device."""
ELSEWHERE = 2**31  # on an accelerator: parts that are too small would leave it idle


class Recorder:
    """The model's graph with the gates as further outputs.

    A model that computes in several number formats (autocast, a norm in float32) is run in them, and what is recorded
    of it is brought to the finest: the linear map is then in one format, and takes none of the casts.

    Args:
        captured: the model's graph; its tensors are shared.
        gates: what to record.
        others: gates that were or will be recorded elsewhere, and are to be in the same format.

    Attributes:
        module: a graph that returns the representation and the values of the gates. copies: the model's nodes there.
    """

    def __init__(self, captured: Captured, gates: Sequence[Gate], others: Sequence[Gate] = ()) -> None:
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        graph.graph_copy(captured.module.graph, copies)
        self.copies = copies
        emit = _Emitter(graph, copies, finest((*gates, *others)))
        recorded = [emit(g) for g in gates]
        graph.output((copies[captured.output], tuple(recorded)))
        graph.eliminate_dead_code()
        self.captured, self.gates = captured, tuple(gates)
        self.module = fx.GraphModule(captured.module, graph)

    def __call__(self, images: Tensor) -> tuple[Tensor, dict[Gate, Any]]:
        """Return the representation, and the recorded values."""
        with torch.no_grad():
            return self.read(self.module.forward(images))  # without hooks that are set for all modules

    def values(self, images: Tensor) -> dict[Gate, Any]:
        """Return the recorded values alone, and run no more of the model than they need."""
        graph = fx.Graph()
        values = graph.graph_copy(self.module.graph, {})[1]  # type: ignore[index]
        graph.output(values)
        graph.eliminate_dead_code()
        with torch.no_grad():
            found = fx.GraphModule(self.module, graph).forward(images)
        return dict(zip(self.gates, found, strict=True))

    def read(self, output: tuple[Tensor, Sequence[Any]]) -> tuple[Tensor, dict[Gate, Any]]:
        """Name the values that a run of the graph has returned."""
        representation, values = output
        return representation, dict(zip(self.gates, values, strict=True))

    def portions(self, images: Tensor, most: int | None = None) -> Sequence[Tensor]:
        """Split a batch into parts of about the same size, so that what is recorded of one finds room.

        A graph that holds for one batch size alone gets parts of that size, the last filled up with the last image.

        Args:
            images: the batch.
            most: how many a part may have.
        """
        if self.captured.batch is not None or len(images) == 1:
            return self.captured.chunks(images)
        room = max(1, ROOM.get(images.device.type, ELSEWHERE) // self._bytes)
        most = room if most is None else min(room, most)
        return images.tensor_split(-(-len(images) // most))

    @cached_property
    def _bytes(self) -> int:
        """How many a run holds at once for each image."""
        return max(1, peak_bytes(self.module, self.captured.trial[:1]))


def finest(gates: Iterable[Gate]) -> torch.dtype | None:
    """Return the number format that holds all numbers which gates read; `None` if they are in one already."""
    read = {node: None for gate in gates for node in _nodes(gate)}
    dtypes = {node.meta["trial_dtype"].to_real() for node in read if _is_number(node) and shape(node)}
    return reduce(torch.promote_types, dtypes) if len(dtypes) > 1 else None


def _nodes(value: Any) -> Iterator[fx.Node]:
    """Yield the nodes whose values a gate reads; a shape is no value."""
    if isinstance(value, fx.Node):
        yield value
    elif isinstance(value, Gate):
        if value.fn not in BY_SHAPE:
            yield from _nodes((*value.args, *(argument for _, argument in value.kwargs)))
    elif isinstance(value, tuple):
        for part in value:
            yield from _nodes(part)


def _is_number(node: fx.Node) -> bool:
    """Check whether a node holds real or complex numbers in a known format."""
    dtype = node.meta.get("trial_dtype")
    return dtype is not None and (dtype.is_floating_point or dtype.is_complex)


class _Emitter:
    """Writes gates into a copy of the graph, each as early as it can be computed, each only once.

    Args:
        graph: the copy. copies: the model's nodes there.
        dtype: the number format in which gates read the model's values; `None` for that of each.
    """

    def __init__(self, graph: fx.Graph, copies: dict[fx.Node, fx.Node], dtype: torch.dtype | None) -> None:
        self.graph, self.copies, self.dtype = graph, copies, dtype
        self.anchor = {node: node for node in graph.nodes}  # the model's node behind which a gate stands
        self.order = {node: i for i, node in enumerate(graph.nodes)}
        self.tail = dict(self.anchor)  # the last gate that stands behind each of the model's nodes
        self.done: dict[Gate, fx.Node] = {}
        self.first = next(n for n in graph.nodes if n.op == "placeholder")

    def __call__(self, gate: Gate) -> fx.Node:
        if gate.fn is same and isinstance(gate.args[0], fx.Node):
            return self._value(gate.args[0])
        if gate not in self.done:
            self.done[gate] = self._emit(no_larger(gate))
        return self.done[gate]

    def _emit(self, gate: Gate) -> fx.Node:
        nodes: list[fx.Node] = []
        template = self._template((gate.args, gate.kwargs), nodes)
        anchor = max((self.anchor[n] for n in nodes), key=self.order.__getitem__, default=self.first)
        with self.graph.inserting_after(self.tail[anchor]):
            node = self.graph.call_function(_Call(gate.fn, template), tuple(nodes))
        self.anchor[node], self.tail[anchor] = anchor, node
        return node

    def _value(self, node: fx.Node) -> fx.Node:
        """Return the node of a value in the format in which gates read it."""
        copy = self.copies[node]
        if self.dtype is None or not _is_number(node):
            return copy
        own: torch.dtype = node.meta["trial_dtype"]
        wanted = self.dtype.to_complex() if own.is_complex else self.dtype
        if own == wanted:
            return copy
        gate = Gate(cast, (node, wanted))
        if gate not in self.done:
            with self.graph.inserting_after(self.tail[copy]):
                found = self.graph.call_function(cast, (copy, wanted))
            self.done[gate], self.anchor[found], self.tail[copy] = found, copy, found
        return self.done[gate]

    def _template(self, value: Any, nodes: list[fx.Node]) -> Any:
        if isinstance(value, (fx.Node, Gate)):
            nodes.append(self._value(value) if isinstance(value, fx.Node) else self(value))
            return _Slot(len(nodes) - 1)
        return tuple(self._template(v, nodes) for v in value) if isinstance(value, tuple) else value


class _Slot(int):
    """The place of a node's value among the arguments of a call."""


class _Call:
    """A function applied to arguments in which slots stand for the values of nodes."""

    def __init__(self, fn: Callable[..., Any], template: tuple[Any, Any]) -> None:
        self.fn, self.template = fn, template
        self.__name__ = getattr(fn, "__name__", "gate").split(".")[0]
        self.__qualname__, self.__module__ = self.__name__, __name__

    @torch.no_grad()
    def __call__(self, *values: Any) -> Any:
        """Compute it as a constant: what is recorded of a run that is differentiated is no part of it."""
        args, kwargs = self.template
        return self.fn(*_fill(args, values), **{k: _fill(v, values) for k, v in kwargs})


def _fill(template: Any, values: Sequence[Any]) -> Any:
    if isinstance(template, _Slot):
        return values[template]
    return tuple(_fill(t, values) for t in template) if isinstance(template, tuple) else template
