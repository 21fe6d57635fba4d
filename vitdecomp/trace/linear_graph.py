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
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.rule import Gate, Step, Term, broadcast, linear_terms, opened_terms, same, shape_of, varies
from vitdecomp.trace.rules.attention import value_term
from vitdecomp.trace.rules.merge import embed
from vitdecomp.trace.rules.parametric import contracted_axis

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


@dataclass(frozen=True, slots=True)
class LinearGraph:
    """Values in topological order; the last one is the representation."""

    values: tuple[Value, ...]

    @property
    def leaves(self) -> dict[int, Leaf]:
        """The leaves by their place in `values`."""
        return {i: v for i, v in enumerate(self.values) if isinstance(v, Leaf)}

    def gates(self) -> list[Gate]:
        """All that has to be recorded: the leaves' values, and what the steps mention."""
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

    def last_uses(self) -> dict[int, int]:
        """The last value that uses each value, so that memory can be given back."""
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
        for i, value in enumerate(self.values):
            if i not in needed:
                continue
            if isinstance(value, Sum):
                ends = tuple(place[j] for j in value.inputs if j in place)
                value = replace(value, inputs=ends)
            elif isinstance(value, Apply):
                value = replace(value, input=place[value.input])
            place[i] = len(values)
            values.append(value)
        return LinearGraph(tuple(values))


def inputs(value: Value) -> tuple[int, ...]:
    """The values that a value is made from."""
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
    """One step, with its nodes and gates at their recorded values."""
    args = tuple(resolve(a, recorded) for a in step.args)
    return step.fn(x, *args, **{k: resolve(a, recorded) for k, a in step.kwargs})


def resolve(argument: Any, recorded: Mapping[Gate, Any]) -> Any:
    """An argument with nodes and gates replaced by their recorded values."""
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


# --- from the model's graph to the linear graph ---------------------------------------------------------------


def walk(
    captured: Captured, opened: frozenset[fx.Node] = frozenset(), at_values: frozenset[fx.Node] = frozenset()
) -> LinearGraph:
    """Walk from the representation backwards along all linear paths.

    Args:
        captured: the model's graph.
        opened: nodes that are not linear but walked through, with part of them frozen.
        at_values: attentions whose leaf is the values in front of the pattern instead of the product.

    Raises:
        NoRuleError: an operation on a path that no rule knows.
        CoverageError: the representation does not depend on the image.
    """
    if not varies(captured.output):
        raise CoverageError("the representation does not depend on the image at all")
    terms = _reach(captured, opened)
    builder = _Builder()
    for node in captured.module.graph.nodes:
        if node in terms:
            if node in at_values:
                builder.add_values(node)
            else:
                builder.add(node, terms[node], image=node is captured.image)
    return LinearGraph(tuple(builder.values)).pruned()


def _reach(captured: Captured, opened: frozenset[fx.Node]) -> dict[fx.Node, list[Term] | None]:
    """The terms of every node on a path, `None` for those at which a path ends."""
    reached = {captured.output}
    terms: dict[fx.Node, list[Term] | None] = {}
    for node in reversed(captured.module.graph.nodes):
        if node not in reached:
            continue
        found = None
        if node is not captured.image:
            found = opened_terms(node) if node in opened else linear_terms(node)
        terms[node] = found
        reached.update(t.operand for t in found or () if varies(t.operand))  # type: ignore[misc]
    return terms


class _Builder:
    """Collects values in topological order."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.at: dict[fx.Node, int] = {}

    def add(self, node: fx.Node, terms: list[Term] | None, *, image: bool) -> None:
        if terms is None:
            self.at[node] = self._put(Leaf(node, Gate(same, (node,)), IMAGE if image else SOURCE))
            return
        ends = tuple(self._term(node, term) for term in terms)
        self.at[node] = ends[0] if len(ends) == 1 else self._put(Sum(ends, node))

    def add_values(self, node: fx.Node) -> None:
        """A leaf at the values of an attention (one for every head), behind it the frozen pattern."""
        term, step = value_term(node)
        value = Gate(same, (term.operand,))
        for before in term.steps:
            value = Gate(before.fn, (value, *before.args), before.kwargs)
        self.at[node] = self._put(Apply(self._put(Leaf(node, value, SOURCE)), step, node))

    def _term(self, node: fx.Node, term: Term) -> int:
        if varies(term.operand):
            end, steps = self.at[term.operand], term.steps  # type: ignore[index]
        else:
            place = next((i for i, step in enumerate(term.steps) if step.fn is embed), len(term.steps))
            end, steps = self._put(_constant(node, term, place)), term.steps[place:]
        for step in steps:
            end = self._put(Apply(end, step, node))
        return end

    def _put(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1


def _constant(node: fx.Node, term: Term, steps: int) -> Leaf:
    """A term without data, computed while the model runs, in the full shape of the sum that it joins.

    Only its first `steps` are taken then: where it is put beside other things is for the linear graph to know.
    """
    value: Any = term.operand
    if not isinstance(value, Gate):
        value = Gate(same, (value,)) if isinstance(value, fx.Node) else Gate(_number, (value, node))
    for step in term.steps[:steps]:
        value = Gate(step.fn, (value, *step.args), step.kwargs)
    if steps == len(term.steps):
        value = Gate(broadcast, (value, Gate(shape_of, (node,))))
    return Leaf(node, value, CONSTANT, term.operand, term.label)


def _number(value: float | int, like: Tensor) -> Tensor:
    return like.new_tensor(value)


def fold_image(graph: LinearGraph) -> LinearGraph:
    """Begin the image's path behind the patch embedding's product, where it has tokens, if nothing joins before."""
    users: dict[int, list[int]] = {}
    for i, value in enumerate(graph.values):
        for j in inputs(value):
            users.setdefault(j, []).append(i)
    values = list(graph.values)
    for i, leaf in graph.leaves.items():
        at = i
        while leaf.kind == IMAGE and len(users.get(at, ())) == 1:
            at = users[at][0]
            value = values[at]
            if not isinstance(value, Apply):
                break
            step = value.step
            leaf = replace(leaf, value=Gate(step.fn, (leaf.value, *step.args), step.kwargs))
            if contracted_axis(step.fn, step.args) is not None:
                values[at] = leaf
                break
    return LinearGraph(tuple(values)).pruned()
