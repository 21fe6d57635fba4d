"""The model from a layer on with every token on its own: what changes, and what is left of the model's own run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, fx

from vitdecomp.attention.written_out import Here
from vitdecomp.latent.partial_run import SIZE, PartialRun
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.operations import packet
from vitdecomp.trace.rule import Gate, varies
from vitdecomp.trace.search import Search


@runtime_checkable
class Replacement(Protocol):
    """What is computed in the place of a node."""

    @property
    def reads(self) -> tuple[fx.Node, ...]:
        """The nodes that it reads."""
        ...

    def run(self, values: Mapping[Gate, Any], images: int) -> Tensor:
        """Compute the value from those of the nodes that it reads, for so many images."""
        ...


@dataclass(frozen=True)
class Depth:
    """The model up to its tokens, with some nodes replaced.

    Attributes:
        replaced: what takes the place of which node.
        given: nodes that depend on the input and do not change: their values are those of the model's own run.
        computed: nodes that the tokens depend on and that change, or that are made of parameters and sizes alone.
        tokens: the node of all tokens.
    """

    replaced: Mapping[fx.Node, Replacement]
    given: frozenset[fx.Node]
    computed: frozenset[fx.Node]
    tokens: fx.Node

    @classmethod
    def of(
        cls,
        graph: fx.Graph,
        replaced: Mapping[fx.Node, Replacement],
        tokens: fx.Node,
        start: Collection[fx.Node] = (),
    ) -> Depth:
        """Find what has to be computed anew.

        Args:
            graph: of the model.
            replaced: what takes the place of which node.
            tokens: the node of all tokens.
            start: nodes whose values will be others than in the model's own run.
        """
        changed = set(Search([*replaced, *(user for node in start for user in node.users)], lambda node: node.users))

        def reads(node: fx.Node) -> Sequence[fx.Node]:
            if packet(node) is SIZE or (varies(node) and node not in changed):
                return ()
            return replaced[node].reads if node in replaced else node.all_input_nodes

        needed = set(Search([tokens], reads))
        given = frozenset(node for node in needed - changed if varies(node))
        return cls(replaced, given, frozenset(needed - given), tokens)

    def run(
        self, captured: Captured, own: Mapping[fx.Node, Any], images: int, also: Collection[fx.Node] = ()
    ) -> Mapping[fx.Node, Tensor]:
        """Compute the tokens.

        Args:
            captured: the model's graph.
            own: values of the model's own run.
            images: how many there are.
            also: other nodes whose values are wanted, of those that change.

        Returns:
            The values of the tokens and of these nodes.
        """
        given = {node: own[node] for node in self.given}
        return _Replaced(captured, self, given, images).values({self.tokens, *also})


class OwnRun(fx.Interpreter):
    """The model's own run, of which some values are kept.

    Args:
        captured: the model's graph.
        wanted: the nodes whose values are kept.
    """

    def __init__(self, captured: Captured, wanted: Collection[fx.Node]) -> None:
        super().__init__(captured.module)
        self.wanted, self.kept = wanted, dict[fx.Node, Any]()

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        if n in self.wanted:
            self.kept[n] = value
        return value


class _Replaced(PartialRun):
    """A run in which other values take the place of some nodes'."""

    def __init__(self, captured: Captured, depth: Depth, given: Mapping[fx.Node, Any], images: int) -> None:
        lasting = {read for each in depth.replaced.values() for read in each.reads}
        super().__init__(captured, depth.computed, given, images, lasting)
        self.replaced = depth.replaced

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, or what takes its place."""
        other = self.replaced.get(n)
        return super().run_node(n) if other is None else other.run(Here(self.env), self.images)
