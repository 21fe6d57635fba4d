"""The frozen linear map from sources to representation: leaves, linear steps, sums.

Every value is one of three: a `Leaf` (a source, the image or a constant, recorded while the model runs), an
`Apply` (one linear step on one value) or a `Sum`. With all leaves at their recorded values the output is the
representation; with all leaves but one at zero it is the contribution of that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch import Tensor, fx

from vitdecomp.errors import CoverageError
from vitdecomp.trace.rule import Gate, Step, same

SOURCE, IMAGE, CONSTANT = "source", "image", "constant"


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where a path begins: a recorded value that lives at a node of the model's graph.

    Attributes:
        node: for a source the node itself; for a constant the node whose sum it joins.
        value: how it is recorded; it always has the full shape of the place where it joins.
        kind: `source`, `image` or `constant`.
        origin: for a constant, the operand that it comes from (a parameter's node, a statistic, a number).
        label: for a frozen statistic, what it is.
    """

    node: fx.Node
    value: Gate
    kind: str
    origin: Any = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Apply:
    """One linear step on one value."""

    input: int
    step: Step
    node: fx.Node


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum of values of one shape."""

    inputs: tuple[int, ...]
    node: fx.Node


Value: TypeAlias = "Leaf | Apply | Sum"
Shape: TypeAlias = "tuple[int, ...]"


@dataclass(frozen=True, slots=True)
class LinearGraph:
    """Values in topological order; the last one is the representation.

    Attributes:
        values: the values.
        shapes: of each of them on the trial batch, once they are known.
    """

    values: tuple[Value, ...]
    shapes: tuple[Shape, ...] = ()

    @property
    def leaves(self) -> dict[int, Leaf]:
        """The leaves by their place in `values`."""
        return {i: v for i, v in enumerate(self.values) if isinstance(v, Leaf)}

    def gates(self) -> list[Gate]:
        """Return all that has to be recorded: the leaves' values, and what the steps mention."""
        found: dict[Gate, None] = {}
        for value in self.values:
            wanted = (value.value,) if isinstance(value, Leaf) else _mentioned(value)
            found.update(dict.fromkeys(wanted))
        return list(found)

    def evaluate(
        self,
        recorded: Mapping[Gate, Any],
        leaves: Mapping[int, Tensor],
        watch: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Run the map on given leaves; those that are left out are zero.

        Args:
            recorded: the gates of one batch.
            leaves: a value for each leaf, by its place.
            watch: called with every value, for shapes and checks.

        Raises:
            CoverageError: none of the leaves reaches the output.
        """
        live: dict[int, Tensor] = {}
        last = self.last_uses()
        for i, value in enumerate(self.values):
            result = _evaluate(value, live, recorded, leaves.get(i))
            for j in inputs(value):
                if last[j] == i:
                    live.pop(j, None)
            if result is not None:
                live[i] = result
                if watch is not None:
                    watch(i, result)
        if len(self.values) - 1 not in live:
            raise CoverageError("no component reaches the representation")
        return live[len(self.values) - 1]

    def users(self) -> dict[int, list[int]]:
        """For each value that is used, the values that use it."""
        found: dict[int, list[int]] = {}
        for i, value in enumerate(self.values):
            for j in inputs(value):
                found.setdefault(j, []).append(i)
        return found

    def last_uses(self) -> dict[int, int]:
        """Find the last value that uses each value, so that memory can be given back."""
        return {j: i for i, value in enumerate(self.values) for j in inputs(value)}

    def pruned(self, dead: Iterable[int] = ()) -> LinearGraph:
        """Without the given leaves, and without whatever does not lead from a leaf to the output."""
        gone = set(dead)
        for i, value in enumerate(self.values):
            if inputs(value) and all(j in gone for j in inputs(value)):
                gone.add(i)
        needed = set() if len(self.values) - 1 in gone else {len(self.values) - 1}
        for i in range(len(self.values) - 1, -1, -1):
            if i in needed:
                needed.update(j for j in inputs(self.values[i]) if j not in gone)
        return self._kept(needed)

    def _kept(self, needed: set[int]) -> LinearGraph:
        place: dict[int, int] = {}
        values: list[Value] = []
        shapes = tuple(self.shapes[i] for i in sorted(needed)) if self.shapes else ()
        for i, value in enumerate(self.values):
            if i not in needed:
                continue
            place[i] = len(values)
            match value:
                case Sum():
                    values.append(replace(value, inputs=tuple(place[j] for j in value.inputs if j in place)))
                case Apply():
                    values.append(replace(value, input=place[value.input]))
                case Leaf():
                    values.append(value)
        return LinearGraph(tuple(values), shapes)


def inputs(value: Value) -> tuple[int, ...]:
    """Return the values that a value is made from."""
    match value:
        case Apply():
            return (value.input,)
        case Sum():
            return value.inputs
        case _:
            return ()


def _evaluate(value: Value, live: dict[int, Tensor], recorded: Mapping[Gate, Any], leaf: Tensor | None) -> Any:
    match value:
        case Leaf():
            return leaf
        case Apply():
            return None if value.input not in live else run_step(value.step, live[value.input], recorded)
        case Sum():
            terms = [live[j] for j in value.inputs if j in live]
            return sum(terms[1:], terms[0]) if terms else None


def run_step(step: Step, x: Tensor, recorded: Mapping[Gate, Any]) -> Tensor:
    """Return one step, with its nodes and gates at their recorded values."""
    args = tuple(resolve(a, recorded) for a in step.args)
    return step.fn(x, *args, **{k: resolve(a, recorded) for k, a in step.kwargs})


def resolve(argument: Any, recorded: Mapping[Gate, Any]) -> Any:
    """Replace the nodes and gates in an argument by their recorded values."""
    match argument:
        case fx.Node():
            return recorded[Gate(same, (argument,))]
        case Gate():
            return recorded[argument]
        case tuple():
            return tuple(resolve(a, recorded) for a in argument)
        case _:
            return argument


def _mentioned(value: Value) -> list[Gate]:
    if not isinstance(value, Apply):
        return []
    found: list[Gate] = []
    queue = [*value.step.args, *(a for _, a in value.step.kwargs)]
    while queue:
        match queue.pop(0):
            case fx.Node() as node:
                found.append(Gate(same, (node,)))
            case Gate() as gate:
                found.append(gate)
            case tuple() as several:
                queue.extend(several)
    return found
