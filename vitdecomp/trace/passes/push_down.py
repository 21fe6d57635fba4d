"""The one way in which a pass rewrites a linear graph: requests go down to the leaves, then the graph is written anew.

What is wanted of the output (a slice of it, or a sum over tokens) is pushed in front of each step that lets it pass. A
value that several others read gets a request from each, and serves all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from vitdecomp.trace.linear_graph import Apply, Leaf, LinearGraph, Sum, Value, inputs
from vitdecomp.trace.rule import Step

R = TypeVar("R")
Shape = tuple[int, ...]


class Nothing(Exception):
    """What is wanted of a step's output is zero."""


class PushDown(ABC, Generic[R]):
    """A pass over a linear graph; `None` as a request stands for all of a value.

    Args:
        graph: the linear map.
        shapes: the shape of each of its values on the trial batch.
    """

    def __init__(self, graph: LinearGraph, shapes: Mapping[int, Shape]) -> None:
        self.graph, self.shapes = graph, shapes
        self.wanted: dict[int, list[R | None]] = {}
        self.served: dict[int, R | None] = {}
        self.pushed: dict[int, tuple[R | None, Step | None]] = {}
        self.values: list[Value] = []
        self.at: dict[int, int] = {}

    @abstractmethod
    def together(self, wanted: Sequence[R | None]) -> R | None:
        """A request that serves several requests."""

    @abstractmethod
    def push(self, step: Step, wanted: R | None, before: Shape, after: Shape) -> tuple[R | None, Step | None] | None:
        """What is wanted of a step's input, and the step that is left; `None` if the request stays behind the step.

        Raises:
            Nothing: what is wanted is zero.
        """

    @abstractmethod
    def part(self, served: R | None, wanted: Sequence[R | None], own: R | None) -> Step | None:
        """What is left to do for one request of several, `own`, behind the one that was served."""

    @abstractmethod
    def leaf(self, i: int, leaf: Leaf, wanted: R | None) -> int:
        """Write a leaf as it is wanted, and return its place."""

    def run(self, first: R | None) -> LinearGraph:
        """The same linear map, of whose output the first request is made."""
        self._ask(first)
        for i, value in enumerate(self.graph.values):
            alive = not inputs(value) or any(j in self.at for j in inputs(value))
            if i in self.served and alive:
                self.at[i] = self._written(i, value)
        return LinearGraph(tuple(self.values))

    def put(self, value: Value) -> int:
        """Write a value, and return its place."""
        self.values.append(value)
        return len(self.values) - 1

    def apply(self, end: int, step: Step | None, like: Value) -> int:
        """Write a step behind a value, if there is one, and return the place of the result."""
        return end if step is None else self.put(Apply(end, step, like.node))

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
                    found = self.push(value.step, request, self.shapes[value.input], self.shapes[i])
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
                ends = tuple(self._end(j, request, value) for j in value.inputs if j in self.at)
                return self.put(replace(value, inputs=ends))
            case Apply() if i in self.pushed:
                below, step = self.pushed[i]
                return self.apply(self._end(value.input, below, value), step, value)
            case Apply():
                end = self.apply(self._end(value.input, None, value), value.step, value)
                return end if request is None else self.apply(end, self.part(None, (), request), value)

    def _end(self, j: int, own: R | None, like: Apply | Sum) -> int:
        """The rebuilt input, and behind it what one of its readers wants of it."""
        served = self.served[j]
        return self.at[j] if served == own else self.apply(self.at[j], self.part(served, self.wanted[j], own), like)
