"""Runs of a captured model with attention patterns written out, so that scores can be differentiated by them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, fx

from vitdecomp.attention.blocks import Tail, mean_over
from vitdecomp.attention.differentiable import Differentiable
from vitdecomp.trace.linear_graph import resolve, run_step
from vitdecomp.trace.recorder import Recorder
from vitdecomp.trace.rule import Gate, Step, Term, same
from vitdecomp.trace.rules.parametric import einsum_at


class WrittenOut(Differentiable):
    """A run of the graph in which attentions are products of a pattern that can be differentiated with values.

    Args:
        recorder: the model's graph, with gates that are recorded on the way.
        terms: the attentions that are written out, and how.
        wanted: nodes whose values are kept.
        cut: those of them behind which no gradient flows on.
    """

    def __init__(
        self,
        recorder: Recorder,
        terms: Mapping[fx.Node, Term],
        wanted: Collection[fx.Node] = (),
        cut: Collection[fx.Node] = (),
    ) -> None:
        super().__init__(recorder.module)
        self.recorder, self.copies = recorder, recorder.copies
        self.originals = {copy: node for node, copy in recorder.copies.items()}
        self.terms, self.wanted, self.cut = terms, wanted, cut
        self.patterns: dict[fx.Node, Tensor] = {}
        self.kept: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; an attention in two steps."""
        original = self.originals.get(n, n)  # a gate is none of the model's nodes
        value = self._attend(original) if original in self.terms else super().run_node(n)
        if original in self.wanted:
            self.kept[original] = value
        return value.detach() if original in self.cut else value

    def _attend(self, n: fx.Node) -> Tensor:
        here, term = Here(self.env, self.copies), self.terms[n]
        values = resolve(term.operand, here)
        for step in term.steps[:-1]:
            values = run_step(step, values, here)
        pattern = _pattern_of(term.steps[-1], here)
        if not pattern.requires_grad:
            pattern = pattern.detach().requires_grad_()
        self.patterns[n] = pattern
        return applied(term.steps[-1], values, pattern)


class Behind(WrittenOut):
    """A run of what is behind a block, on its output and those of the blocks before."""

    def __init__(
        self, recorder: Recorder, terms: Mapping[fx.Node, Term], tail: Tail, given: Mapping[fx.Node, Tensor]
    ) -> None:
        super().__init__(recorder, terms)
        self.tail, self.given = tail, given
        self.garbage_collect_values = False  # a value may be read again in place of a block that is left out

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, or put another value in its place."""
        tail, original = self.tail, self.originals.get(n, n)
        if original not in tail.needed and n.op not in ("placeholder", "output"):
            return None
        value = self.given[original] if original in tail.given else self._value(n, original)
        return mean_over(value, tail.axes) if original is tail.last and tail.axes else value

    def _value(self, n: fx.Node, original: fx.Node) -> Any:
        replaced = self.tail.replaced.get(original)
        return super().run_node(n) if replaced is None else self.env[self.copies[replaced]]


class Here(dict[Gate, Any]):
    """Values of nodes and of gates while a run is at a node.

    Args:
        env: the values that the run knows. copies: of the model's nodes, where the run is of a copy of its graph.
    """

    def __init__(self, env: Mapping[fx.Node, Any], copies: Mapping[fx.Node, fx.Node] = MappingProxyType({})) -> None:
        super().__init__()
        self.env, self.copies = env, copies

    def __missing__(self, gate: Gate) -> Any:
        if gate.fn is same and isinstance(gate.args[0], fx.Node):
            return self.env[self.copies.get(gate.args[0], gate.args[0])]
        return gate.fn(*(resolve(a, self) for a in gate.args), **{k: resolve(a, self) for k, a in gate.kwargs})


def _pattern_of(step: Step, values: Mapping[Gate, Any]) -> Tensor:
    """Return the pattern among the arguments of the step that applies it."""
    argument = step.args[2][0] if step.fn is einsum_at else step.args[0]
    found: Tensor = resolve(argument, values)
    return found


def applied(step: Step, values: Tensor, pattern: Tensor) -> Tensor:
    """Multiply a pattern with values, by the last step of an attention's term."""
    arguments = (*step.args[:2], (pattern,)) if step.fn is einsum_at else (pattern,)
    return step.fn(values, *arguments)
