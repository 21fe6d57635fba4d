"""The model from a layer on with every token on its own: what changes, and what is left of the model's own run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from vitdecomp.attention.written_out import Here
from vitdecomp.latent.self_attention import SelfAttention
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.search import Search


@dataclass(frozen=True)
class Depth:
    """The model up to its tokens, with some attentions replaced.

    Attributes:
        replaced: what takes the place of which attention.
        given: nodes that do not change, whose values are taken from the model's own run.
        computed: nodes that change, and that the tokens depend on.
        tokens: the node of all tokens.
    """

    replaced: Mapping[fx.Node, SelfAttention]
    given: frozenset[fx.Node]
    computed: frozenset[fx.Node]
    tokens: fx.Node

    @classmethod
    def of(cls, graph: fx.Graph, replaced: Mapping[fx.Node, SelfAttention], tokens: fx.Node) -> Depth:
        """Find what has to be computed anew where some attentions are replaced."""
        changed = set(Search(replaced, lambda node: node.users))

        def reads(node: fx.Node) -> Sequence[fx.Node]:
            if node not in changed:
                return ()
            return replaced[node].reads if node in replaced else node.all_input_nodes

        needed = set(Search([tokens], reads))
        return cls(replaced, frozenset(needed - changed), frozenset(needed & changed), tokens)

    def run(self, captured: Captured, own: Mapping[fx.Node, Any], images: int) -> Tensor:
        """Compute the tokens.

        Args:
            captured: the model's graph.
            own: values of the model's own run.
            images: how many there are.
        """
        with torch.no_grad():
            return _SelfAttending(captured, self, own, images).tokens()


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


class _SelfAttending(fx.Interpreter):
    def __init__(self, captured: Captured, depth: Depth, own: Mapping[fx.Node, Any], images: int) -> None:
        super().__init__(captured.module)
        self.depth, self.own, self.images = depth, own, images
        self.lasting = {read for each in depth.replaced.values() for read in each.reads}

    def tokens(self) -> Tensor:
        """Run what has changed."""
        if self.depth.tokens in self.depth.given:
            found: Tensor = self.own[self.depth.tokens]
            return found
        for node in self.module.graph.nodes:  # type: ignore[union-attr]
            if node in self.depth.given:
                self.env[node] = self.own[node]
            elif node in self.depth.computed:
                self.env[node] = self.run_node(node)
                if node is self.depth.tokens:
                    break
                for used in {*self.user_to_last_uses.get(node, [])} - self.lasting:
                    self.env.pop(used, None)
        result: Tensor = self.env[self.depth.tokens]
        return result

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; of an attention, what takes its place."""
        replaced = self.depth.replaced.get(n)
        return super().run_node(n) if replaced is None else replaced.run(Here(self.env), self.images)
