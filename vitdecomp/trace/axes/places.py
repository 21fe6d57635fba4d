"""Where in the input the tokens of each part lie: the model's graph run once with the places of its values beside them.

Nothing but the graph is asked. Pixels have places; products with parameters, norms and activations leave them to the
token; a query's place is that of what it asks for; merged patches lie in the middle of what they are merged from. What
is concatenated with the image's tokens and depends on parameters alone is a constant token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from vitdecomp.errors import NoRuleError
from vitdecomp.trace.axes.attention_ops import is_product_of_data
from vitdecomp.trace.axes.fields import TINY, Field, advance, together
from vitdecomp.trace.axes.layout import Layout
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import resolve
from vitdecomp.trace.naming import parameters_of
from vitdecomp.trace.operations import ATTENTIONS, CONCATENATES, packet
from vitdecomp.trace.rule import Gate, Op, Step, Term, linear_terms, same, shape, shape_of, varies
from vitdecomp.trace.rules.merge import embed
from vitdecomp.trace.rules.scatter import insert, put_at, scatter_in, slices_in
from vitdecomp.trace.steps.places import Map, mean_over
from vitdecomp.trace.walk import alone

aten = torch.ops.aten
LOST = (LookupError, RuntimeError, TypeError, ValueError)  # what a step may raise that does not take places
PLACING: dict[Any, int | None] = {embed: 0, slices_in: 0, insert: None, put_at: None, scatter_in: None}
"""Steps that put an operand in its place among others, and which of their arguments is the axis."""


class ConstantToken(NamedTuple):
    """A token that is a parameter: the parameters that it is made of, and its number among several in one of them."""

    parameters: tuple[str, ...]
    number: int


class Located(NamedTuple):
    """Where the tokens of a leaf lie.

    Attributes:
        seen: which of them are made of the input, `(token,)`.
        at: their mean coordinates along each axis of an input, `(token, axis)`.
        number: which constant token each is, counted from 1, `(token,)`; 0 where it is none.
    """

    seen: Tensor
    at: Tensor
    number: Tensor


class Places(fx.Interpreter):
    """A run of the graph on one image (or on the only batch that it takes), in which values have fields.

    Args:
        captured: the model's graph.
        wanted: the nodes whose fields are asked for.
    """

    def __init__(self, captured: Captured, wanted: set[fx.Node]) -> None:
        super().__init__(captured.module)
        self.captured, self.wanted = captured, wanted
        self.fields: dict[fx.Node, Field] = {}
        self.constants: dict[ConstantToken, int] = {}
        self.held: dict[fx.Node, Sequence[fx.Node]] = {}
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        images = captured.trial if captured.batch is not None else captured.trial[:1]
        self.images = len(images)
        with torch.no_grad():
            self.run(images)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and find the field of its value."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
            if varies(n) and n.op != "output":
                self._enter(n, value)
        done = self.user_to_last_uses.get(n, [])
        if isinstance(value, Tensor):
            self._forget(done)
        else:  # several values, which are asked for one by one, and made of the same
            self.held[n] = done
        return value

    def _forget(self, nodes: Sequence[fx.Node]) -> None:
        """Free the fields that nothing needs any more."""
        for node in nodes:
            self._forget(self.held.pop(node, ()))
            if node not in self.wanted:
                self.fields.pop(node, None)

    def _enter(self, node: fx.Node, value: Tensor) -> None:
        found = None
        if node is self.captured.image:
            found = Field.of_image(value)
        else:
            values = _Values(self, {node: value})
            with suppress(*LOST):
                terms = _terms(node)
                found = self._mixed(node, value) if terms is None else self._sum(terms, values)
        if found is not None and found.seen.shape == value.shape:
            self.fields[node] = found

    # --- linear operations ---

    def _sum(self, terms: list[Term], values: _Values) -> Field | None:
        fields = []
        for term in terms:
            with suppress(*LOST):
                known = self._constant(term, values)
                if known is None and isinstance(term.operand, fx.Node) and term.operand in self.fields:
                    known = self.through(self.fields[term.operand], term.steps, values)
                fields += [] if known is None else [known]
        return together(fields)

    @staticmethod
    def through(field: Field, steps: tuple[Step, ...], values: Mapping[Gate, Any]) -> Field:
        """Carry a field through several steps."""
        for step in steps:
            field = advance(step, field, values)
        return field

    def _constant(self, term: Term, values: _Values) -> Field | None:
        """Return the field of parameters that are concatenated with other tokens."""
        node, place = term.operand, next((s for s in term.steps if s.fn in PLACING), None)
        owner = _made_of(node) if isinstance(node, fx.Node) and place is not None else None
        if owner is None or place is None or not isinstance(node, fx.Node):
            return None
        axis, size = PLACING[place.fn], shape(node)
        dim = None if axis is None or shape(owner) != size else place.args[axis] % len(size)
        own = [ConstantToken(tuple(parameters_of(owner)), 0)] if dim is None else _owners(owner, dim)
        numbers = torch.tensor([self.constants.setdefault(one, len(self.constants) + 1) for one in own])
        after = 0 if dim is None else len(size) - 1 - dim
        there = values[Gate(same, (node,))].shape
        number = numbers.double().reshape(-1, *(1,) * after).expand(there)
        one = torch.ones((), dtype=torch.float64).expand(there)
        zeros = tuple(torch.zeros_like(one) for _ in self.captured.trial.shape[1:])
        return self.through(Field(torch.zeros_like(one), zeros, one, number), term.steps, values)

    # --- all others ---

    def _mixed(self, node: fx.Node, value: Tensor) -> Field | None:
        """Return the field of a non-linear operation: a query keeps its place, and so does a pointwise operation."""
        call = Op(node).call
        if packet(call) in ATTENTIONS:
            query = self.fields.get(call.args[0])  # type: ignore[arg-type]
            return None if query is None else query.mixed(mean_over(-1, value.shape[-1]))
        if is_product_of_data(node):
            return self._product(node, value)
        fields = [self.fields[i] for i in node.all_input_nodes if i in self.fields]
        return together([field for field in fields if field.seen.shape == value.shape])

    def _product(self, node: fx.Node, value: Tensor) -> Field | None:
        """Return the field of a product: rows from the left operand, columns from the right, the wider spread first.

        An operand whose places differ along the axis that is summed over tells nothing of the sum's place.
        """
        if packet(node) is aten.einsum:
            operands: Any = node.args[1]
            maps = [self._einsum(node, place) for place in range(len(operands))]
        else:
            operands, maps = node.args[-2:], [_spread_out(axis, value) for axis in (-1, -2)]
        known = [(self.fields[x], fn) for x, fn in zip(operands, maps, strict=True) if x in self.fields]
        mixed = [(field, field.mixed(fn)) for field, fn in known]
        return together([after for before, after in mixed if before.spread <= after.spread + TINY])

    def _einsum(self, node: fx.Node, place: int) -> Map:
        """Build the einsum of one operand, with ones for all others."""
        equation, operands = node.args[:2]
        ones = [torch.ones(self.shapes[x], dtype=torch.float64) for x in operands]  # type: ignore[union-attr, index]

        def run(x: Tensor) -> Tensor:
            found: Tensor = torch.einsum(equation, [x if i == place else one for i, one in enumerate(ones)])
            return found

        return run


def _spread_out(axis: int, value: Tensor) -> Map:
    """Build the map to the mean over an axis of a factor, repeated wherever the product has an element along it."""
    mean = mean_over(axis, value.shape[axis])
    return lambda x: mean(x).expand(value.shape)


def _terms(node: fx.Node) -> list[Term] | None:
    """As `linear_terms`; an operation that nobody knows is not linear."""
    try:
        return linear_terms(node)
    except NoRuleError:
        return None


def _made_of(node: fx.Node) -> fx.Node | None:
    """Find the constant that a node is or copies; return `None` where it is more, or made of no parameter."""
    if varies(node):
        terms = _terms(node) or []
        operands = [term.operand for term in terms if isinstance(term.operand, fx.Node)]
        node = operands[0] if len(operands) == len(terms) == 1 else node
    return None if varies(node) or not parameters_of(node) else node


def _owners(node: fx.Node, axis: int) -> list[ConstantToken]:
    """For each place along an axis of a constant, the token there."""
    size = shape(node)
    if packet(node) in CONCATENATES:
        parts: Any = node.args[0]
        along = node.args[1] if len(node.args) > 1 else 0
        if along % len(size) == axis:  # type: ignore[operator]
            return [token for part in parts for token in _owners(part, axis)]
    alike = [i for i in node.all_input_nodes if len(shape(i)) == len(size) and shape(i)[axis] == size[axis]]
    if len(alike) == 1:
        return _owners(alike[0], axis)
    names = tuple(parameters_of(node))
    return [ConstantToken(names, number) for number in range(size[axis])]


class _Values(dict[Gate, Any]):
    """Gates while a run is at a node, and behind it those of parameters and shapes."""

    def __init__(self, run: Places, now: Mapping[fx.Node, Tensor]) -> None:
        super().__init__()
        self.at, self.now = run, now

    def __missing__(self, gate: Gate) -> Any:
        node = gate.args[0] if gate.args else None
        if isinstance(node, fx.Node) and gate.fn is shape_of:
            return self.at.shapes[node]
        if isinstance(node, fx.Node) and gate.fn is same:
            if node in self.now:
                return self.now[node]
            return self.at.env[node] if node in self.at.env else self.at.fetch_attr(str(node.target))
        return gate.fn(*(resolve(a, self) for a in gate.args), **{k: resolve(a, self) for k, a in gate.kwargs})


def locate(
    captured: Captured, leaves: Mapping[int, tuple[Gate, Layout]]
) -> tuple[dict[int, Located], tuple[ConstantToken, ...]]:
    """Find where the tokens of leaves lie in the input.

    Args:
        captured: the model's graph.
        leaves: how each is recorded, and how its axes factor.

    Returns:
        The places of the leaves of which they are known, and all constant tokens, as they are counted there.
    """
    run = Places(captured, {_origin(value) for value, _ in leaves.values()})
    values, found = _Values(run, {}), dict[int, Located]()
    for leaf, (value, layout) in leaves.items():
        with suppress(*LOST):
            found[leaf] = _located(run.through(run.fields[_origin(value)], _steps(value), values), layout, run.images)
    return found, tuple(run.constants)


def _origin(value: Gate) -> fx.Node:
    """Return the node of which a leaf's value is made."""
    first = value.args[0]
    return _origin(first) if isinstance(first, Gate) else first


def _steps(value: Gate) -> tuple[Step, ...]:
    """Return the steps from that node to the leaf."""
    if value.fn is same:
        return ()
    before = _steps(value.args[0])
    return before if value.fn is alone else (*before, Step(value.fn, value.args[1:], value.kwargs))


def _located(field: Field, layout: Layout, images: int) -> Located:
    """Compute the places of a leaf's tokens in its first image, as means over heads and channels."""

    def by_token(x: Tensor) -> Tensor:
        return layout.canonical(x, images)[0].sum((0, 2))

    seen, constant = by_token(field.seen), by_token(field.constant)
    at = torch.stack([by_token(field.seen * a) / seen.clamp_min(1e-9) for a in field.at], -1)
    number = (by_token(field.constant * field.number) / constant.clamp_min(1e-9)).round().long()
    return Located(seen > 0, at, torch.where((constant > 0) & (seen == 0), number, 0))
