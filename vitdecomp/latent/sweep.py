"""All layers in one sweep: what the model has computed up to a layer is taken from one run of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, fx

from vitdecomp.attention.attentions import Attentions
from vitdecomp.component import Token
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError
from vitdecomp.latent.depth import Depth, OwnRun, Replacement
from vitdecomp.latent.folded import fold
from vitdecomp.latent.read_out import ReadOut, last_tokens
from vitdecomp.latent.self_attention import SelfAttention
from vitdecomp.trace.axes.attention_ops import attention_operations
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.rule import module_path
from vitdecomp.trace.search import Search


class Sweep:
    """One sweep over all layers.

    Args:
        captured: the model's graph.
        attentions: of the model.

    Attributes:
        layers: paths of the blocks.
    """

    def __init__(self, captured: Captured, attentions: Attentions) -> None:
        self.captured = captured
        blocks = [owner.block for owner in attentions.owners]
        count = next((i for i in range(len(blocks), 0, -1) if attentions.each[i - 1].has_several_queries), 0)
        if count == 0:
            raise SpecError("latent tokens: in no attention of this model do tokens attend to one another")
        self.layers = tuple(dict.fromkeys(blocks[:count]))
        self.tokens = last_tokens(self.captured, list(attentions.terms)[count - 1])
        self._check(attentions)
        own = dict(self._replacement(attentions, i) for i in range(count))
        depth = [self.layers.index(block) for block in blocks[:count]]
        self.depths = [
            Depth.of(self.captured.module.graph, self._from(layer, own, depth), self.tokens.node)
            for layer in range(len(self.layers) + 1)
        ]
        self.read_out = ReadOut(self.captured, self.tokens)

    @classmethod
    def of(cls, decomposer: Decomposer) -> Sweep:
        """Find it once for each model and its weights, which are folded."""
        views = decomposer.views
        try:
            attentions = views.derived(Attentions, lambda: Attentions.of(views.paths))
        except SpecError as error:
            raise SpecError(f"latent tokens: {error}") from error
        return views.derived((cls, decomposer.origin_), lambda: cls(views.captured, attentions))

    def _replacement(self, attentions: Attentions, number: int) -> tuple[fx.Node, Replacement]:
        """Return what takes the place of an attention, with the projections around it where they fold into one."""
        alone = SelfAttention.of(attentions, number)
        node = list(attentions.terms)[number]
        return fold(self.captured, node, alone) or (node, alone)

    @staticmethod
    def _from(layer: int, own: Mapping[fx.Node, Replacement], depth: Sequence[int]) -> Mapping[fx.Node, Replacement]:
        return {node: each for (node, each), at in zip(own.items(), depth, strict=True) if at >= layer}

    def _check(self, attentions: Attentions) -> None:
        """Raise `SpecError` where tokens meet in an attention that is not between tokens with places."""
        before = set(Search([self.tokens.node], lambda node: node.all_input_nodes))
        others = [n for n in attention_operations(self.captured.module.graph) if n not in attentions.terms]
        unknown = next((node for node in others if node in before), None)
        if unknown is not None:
            raise SpecError(
                f"latent tokens: {module_path(unknown) or 'an attention'} is no attention between tokens, so a token "
                "cannot attend to itself alone there"
            )

    def run(self, images: Tensor, layers: Sequence[int], tokens: Sequence[int]) -> Float[Tensor, "n layer token d"]:
        """Read some tokens of some layers."""
        wanted = frozenset[fx.Node]().union(*(self.depths[layer].given for layer in layers))
        own = OwnRun(self.captured, wanted)
        with torch.no_grad():
            own.run(images)
        run = (self.depths[k].run(self.captured, own.kept, len(images)) for k in layers)
        found = [self.read_out(x, tokens) for x in run]
        return torch.stack(found, 1)

    @cached_property
    def token_kinds(self) -> tuple[Token, ...]:
        """What each token is."""
        return self.tokens.kinds(self.captured.trial.shape[1:])
