"""The one way in which a pass rewrites a linear graph: requests go down to the leaves, then the graph is written anew.

What is wanted of the output (a slice of it, or a sum over tokens) is pushed in front of each step that lets it pass. A
value that several others read gets a request from each, and serves all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from torch import fx

from vitdecomp.trace.linear_graph import Apply, Leaf, LinearGraph, Shape, Sum, Value, inputs
from vitdecomp.trace.rule import Step

R = TypeVar("R")


class Nothing(Exception):
    """What is wanted of a step's output is zero."""


class PushDown(ABC, Generic[R]):
    """A pass over a linear graph; `None` as a request stands for all of a value.

    Args:
        graph: the linear map, with shapes.
    """

    def __init__(self, graph: LinearGraph) -> None:
        self.graph = graph
        self.wanted: dict[int, list[R | None]] = {}
        self.served: dict[int, R | None] = {}
        self.pushed: dict[int, tuple[R | None, Step | None]] = {}
        self.values: list[Value] = []
        self.shapes: list[Shape] = []
        self.at: dict[int, int] = {}

    @abstractmethod
    def together(self, wanted: Sequence[R | None]) -> R | None:
        """Combine several requests into one that serves them all."""

    @abstractmethod
    def push(self, step: Step, wanted: R | None, before: Shape, after: Shape) -> tuple[R | None, Step | None] | None:
        """Return what is wanted of a step's input, and the step that is left; `None` if the request stays behind.

        Raises:
            Nothing: what is wanted is zero.
        """

    @abstractmethod
    def part(self, served: R | None, wanted: Sequence[R | None], own: R | None) -> Step | None:
        """Return what is left to do for one request of several, `own`, behind the one that was served."""

    @abstractmethod
    def shape(self, whole: Shape, wanted: R) -> Shape:
        """Return the shape of what is wanted of a value of some shape."""

    @abstractmethod
    def leaf(self, i: int, leaf: Leaf, wanted: R | None) -> int:
        """Write a leaf as it is wanted, and return its place."""

    def run(self, first: R | None) -> LinearGraph:
        """Rewrite the graph; the first request is made of its output."""
        self._ask(first)
        for i, value in enumerate(self.graph.values):
            alive = not inputs(value) or any(j in self.at for j in inputs(value))
            if i in self.served and alive:
                self.at[i] = self._written(i, value)
        return LinearGraph(tuple(self.values), tuple(self.shapes))

    def put(self, value: Value, i: int, wanted: R | None) -> int:
        """Write what is wanted of a value of the graph before, and return its place."""
        self.values.append(value)
        whole = self.graph.shapes[i]
        self.shapes.append(whole if wanted is None else self.shape(whole, wanted))
        return len(self.values) - 1

    def apply(self, end: int, step: Step | None, i: int, wanted: R | None, node: fx.Node) -> int:
        """Write a step, if there is one, behind which stands what is wanted of a value; return its place."""
        return end if step is None else self.put(Apply(end, step, node), i, wanted)

    def _ask(self, first: R | None) -> None:
        """Take requests from the output to the leaves."""
        last = len(self.graph.values) - 1
        self.wanted[last] = [first]
        for i in range(last, -1, -1):
            if i not in self.wanted:
                continue
            value, request = self.graph.values[i], self.together(self.wanted[i])
            below: R | None = request
            if isinstance(value, Apply):
                try:
                    found = self.push(value.step, request, self.graph.shapes[value.input], self.graph.shapes[i])
                except Nothing:
                    continue
                below = None
                if found is not None:
                    self.pushed[i], below = found, found[0]
            self.served[i] = request
            for j in inputs(value):
                self.wanted.setdefault(j, []).append(below)

    def _written(self, i: int, value: Value) -> int:
        request = self.served[i]
        match value:
            case Leaf():
                return self.leaf(i, value, request)
            case Sum():
                ends = tuple(self._end(j, request, value.node) for j in value.inputs if j in self.at)
                return self.put(replace(value, inputs=ends), i, request)
            case Apply() if i in self.pushed:
                below, step = self.pushed[i]
                return self.apply(self._end(value.input, below, value.node), step, i, request, value.node)
            case Apply():
                end = self.apply(self._end(value.input, None, value.node), value.step, i, None, value.node)
                return end if request is None else self.apply(end, self.part(None, (), request), i, request, value.node)

    def _end(self, j: int, own: R | None, node: fx.Node) -> int:
        """Return the rebuilt input, and behind it what one of its readers wants of it."""
        if self.served[j] == own:
            return self.at[j]
        return self.apply(self.at[j], self.part(self.served[j], self.wanted[j], own), j, own, node)
