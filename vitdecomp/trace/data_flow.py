"""How data flows through a model's graph: which operands a node is linear in, which are gates, which neither."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx

from vitdecomp.errors import NoRuleError
from vitdecomp.trace.axes.attention_ops import is_elementwise_product, is_product_of_data
from vitdecomp.trace.operations import EXTREMA, MOVES, is_pointwise, packet
from vitdecomp.trace.rule import Term, linear_terms, varies
from vitdecomp.trace.steps import contracted_axis

aten = torch.ops.aten
OUTPUT, PRODUCT, PROJECTION, DATA, GATE, NONLINEAR = "output", "product", "projection", "data", "gate", "non-linear"
_OF_A_FEW = EXTREMA | {aten.glu, aten.prod}
"""Activations that take a few elements together."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One node that reads another.

    Attributes:
        how: `output`, `product` (of two operands of the image), `projection` (data of a product with a parameter),
            `data` (of any other linear operation), `gate` or `non-linear`.
        user: the node that reads.
        operand: the node that is read.
    """

    how: str
    user: fx.Node
    operand: fx.Node


class DataFlow:
    """The readings of a graph; the rule of each node is asked once."""

    def __init__(self) -> None:
        self._terms: dict[fx.Node, list[Term] | None] = {}

    def terms(self, node: fx.Node) -> list[Term] | None:
        """Return the terms of a node, or `None` where its operation is not linear, or is not known."""
        if node not in self._terms:
            try:
                self._terms[node] = linear_terms(node)
            except NoRuleError:  # not on a linear path, so no rule is owed
                self._terms[node] = None
        return self._terms[node]

    def operands(self, node: fx.Node) -> list[fx.Node]:
        """Return the operands that depend on the input and that a node is linear in."""
        return [t.operand for t in self.terms(node) or () if isinstance(t.operand, fx.Node) and varies(t.operand)]

    def is_projection(self, node: fx.Node) -> bool:
        """Check whether a node is a product of one operand of the image with a matrix."""
        if node.op != "call_function" or not varies(node):
            return False
        return any(
            contracted_axis(step) is not None
            for term in self.terms(node) or ()
            if varies(term.operand)
            for step in term.steps
        )

    def readings(self, node: fx.Node) -> Iterator[Reading]:
        """Yield every node that reads a node, and how."""
        for user in node.users:
            if user.op == "output":
                yield Reading(OUTPUT, user, node)
            elif user.op == "call_function" and varies(user):
                yield Reading(self._how(user, node), user, node)

    def _how(self, user: fx.Node, operand: fx.Node) -> str:
        if is_product_of_data(user):
            return PRODUCT
        parts = [u for u in user.users if u.target is operator.getitem] if "trial_shape" not in user.meta else []
        if user.target is operator.getitem:
            return NONLINEAR if self.terms(user) is None else DATA
        if parts:  # several outputs: each says for itself what is data
            return DATA if any(operand in self.operands(p) for p in parts) else _other(self.terms(parts[0]))
        if operand in self.operands(user):
            return PROJECTION if self.is_projection(user) else DATA
        return _other(self.terms(user))


def _other(terms: list[Term] | None) -> str:
    return NONLINEAR if terms is None else GATE


def acts_alone(node: fx.Node) -> bool:
    """Check whether each element of a node's value is made of single elements: pointwise operations and moves."""
    if node.op != "call_function" or not varies(node):
        return False
    moves = node.target is operator.getitem or packet(node) in MOVES | _OF_A_FEW
    return moves or is_pointwise(node) or is_elementwise_product(node)
