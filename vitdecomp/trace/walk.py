"""From a model's graph to its linear graph: backwards from the representation along all linear paths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, fx

from vitdecomp.errors import CoverageError
from vitdecomp.trace.activations import activation_ends, opened_terms
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import CONSTANT, IMAGE, SOURCE, Apply, Leaf, LinearGraph, Sum, Value
from vitdecomp.trace.rule import Gate, Term, broadcast, by_shape, linear_terms, same, shape_of, varies
from vitdecomp.trace.rules.attention import value_term
from vitdecomp.trace.rules.merge import embed
from vitdecomp.trace.steps import contracted_axis


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
        CoverageError: the representation does not depend on the input.
    """
    if not varies(captured.output):
        raise CoverageError("the representation does not depend on the input at all")
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
    """Return the terms of every node on a path, `None` for those at which a path ends."""
    ends = activation_ends(captured.module.graph)
    reached = {captured.output}
    terms: dict[fx.Node, list[Term] | None] = {}
    for node in reversed(captured.module.graph.nodes):
        if node not in reached:
            continue
        found = None
        if node in opened:
            found = opened_terms(node, ends)
        elif node is not captured.image and node not in ends:
            found = linear_terms(node)
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
        """Add a leaf at the values of an attention (one for every head), behind it the frozen pattern."""
        term, step = value_term(node)
        value = Gate(same, (term.operand,))
        for before in term.steps:
            value = Gate(before.fn, (value, *before.args), before.kwargs)
        self.at[node] = self._put(Apply(self._put(Leaf(node, Gate(alone, (value,)), SOURCE)), step, node))

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
    """Build the leaf of a term without data, in the full shape of the sum that it joins.

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


def alone(x: Tensor) -> Tensor:
    """Copy what is a small part of its memory, so that the rest (queries and keys) can be freed."""
    return x.clone() if 2 * x.nbytes <= x.untyped_storage().nbytes() else x


@by_shape
def _number(value: float | int, like: Tensor) -> Tensor:
    return like.new_tensor(value)


def fold_image(graph: LinearGraph) -> LinearGraph:
    """Begin the image's path behind the patch embedding's product, where it has tokens, if nothing joins before."""
    users = graph.users()
    values = list(graph.values)
    for i, leaf in graph.leaves.items():
        if leaf.kind == IMAGE:
            _fold(i, leaf, values, users)
    return LinearGraph(tuple(values), graph.shapes).pruned()


def _fold(at: int, leaf: Leaf, values: list[Value], users: dict[int, list[int]]) -> None:
    value = leaf.value
    while len(users.get(at, ())) == 1:
        at = users[at][0]
        following = values[at]
        if not isinstance(following, Apply):
            return
        step = following.step
        value = Gate(step.fn, (value, *step.args), step.kwargs)
        if contracted_axis(step) is not None:
            values[at] = replace(leaf, value=value)
            return
