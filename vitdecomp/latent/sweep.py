"""All layers in one sweep: what the model has computed up to a layer is taken from one run of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx

from vitdecomp.attention.all_tokens import AllTokens
from vitdecomp.attention.attentions import Attentions
from vitdecomp.component import Token
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError
from vitdecomp.latent.depth import Depth, OwnRun, Replacement
from vitdecomp.latent.folded import fold
from vitdecomp.latent.noise import Smoothing
from vitdecomp.latent.read_out import ReadOut
from vitdecomp.latent.self_attention import SelfAttention
from vitdecomp.latent.streams import Streams
from vitdecomp.trace.axes.attention_ops import attention_operations, single_query
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.paths import LinearPaths
from vitdecomp.trace.rule import Op, module_path

COPIES = 32  # noised images of a run, at most


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
        nodes, depth = list(attentions.terms)[:count], [self.layers.index(block) for block in blocks[:count]]
        self.streams = Streams.of(captured, [nodes[depth.index(k)] for k in range(len(self.layers))], nodes[-1])
        self.tokens = self.streams.last
        self._check(attentions)
        own = [self._replacement(attentions, i) for i in range(count)]
        self._replaced = [
            {node: each for (node, each), at in zip(own, depth, strict=True) if at >= layer}
            for layer in range(len(self.layers) + 1)
        ]
        self.depths = [Depth.of(captured.module.graph, replaced, self.tokens.node) for replaced in self._replaced]
        self.read_out = ReadOut(captured, self.tokens)

    @classmethod
    def of(cls, decomposer: Decomposer) -> Sweep:
        """Find it once for each model and its weights, which are folded."""
        views = decomposer.views
        return views.derived(
            (cls, decomposer.origin_),
            lambda: cls.along(views.paths, lambda: views.derived(Attentions, lambda: Attentions.of(views.paths))),
        )

    @classmethod
    def along(cls, paths: LinearPaths, attentions: Callable[[], Attentions] | None = None) -> Sweep:
        """Find it for linear paths, whose attentions may be known.

        Raises:
            SpecError: tokens of this model say nothing by themselves.
        """
        try:
            found = Attentions.of(paths) if attentions is None else attentions()
        except SpecError as error:
            raise SpecError(f"latent tokens: {error}") from error
        return cls(paths.captured, found)

    def _replacement(self, attentions: Attentions, number: int) -> tuple[fx.Node, Replacement]:
        """Return what takes the place of an attention, with the projections around it where they fold into one."""
        alone = SelfAttention.of(attentions, number)
        node = list(attentions.terms)[number]
        return fold(self.captured, node, alone) or (node, alone)

    def _check(self, attentions: Attentions) -> None:
        """Raise `SpecError` where tokens meet in an attention that is not between tokens with places."""
        others = [n for n in attention_operations(self.captured.module.graph) if n not in attentions.terms]
        unknown = next((node for node in others if not single_query(Op(node))), None)
        if unknown is not None:
            raise SpecError(
                f"latent tokens: {module_path(unknown) or 'an attention'} is no attention between tokens, so a token "
                "cannot attend to itself alone there"
            )

    def run(self, images: Tensor, layers: Sequence[int], tokens: Sequence[int]) -> Float[Tensor, "n layer token d"]:
        """Read some tokens of some layers."""
        own = self.own({node for layer in layers for node in self.depths[layer].given}, images)
        runs = (self.depths[k].run(self.captured, own, len(images)) for k in layers)
        return torch.stack([self.read_out(run[self.tokens.node], tokens) for run in runs], 1)

    def own(self, wanted: Collection[fx.Node], images: Tensor) -> Mapping[fx.Node, Any]:
        """Keep some values of the model's own run."""
        run = OwnRun(self.captured, wanted)
        with torch.no_grad():
            run.run(images)
        return run.kept

    def smoothed(
        self,
        images: Tensor,
        layers: Sequence[int],
        tokens: Sequence[int],
        smoothing: Smoothing,
        drift: Sequence[Tensor],
    ) -> Float[Tensor, "n layer token d"]:
        """Read tokens as means over noised copies.

        Args:
            images: n images.
            layers: of the tokens.
            tokens: which.
            smoothing: the noise.
            drift: of each layer, as `drift` returns it.
        """
        noised = {k: self._noised(k) for k in layers}
        own = self.own({n for k, depth in noised.items() for n in (self.stream(k).node, *depth.given)}, images)
        found = []
        for k in layers:
            stream, parts = self.stream(k), list[Tensor]()
            x = own[stream.node].movedim(stream.image_axis, 0)
            for noise in torch.split(smoothing.noise(drift[k], k), max(1, COPIES // len(images))):
                copies = (x[:, None] + noise).flatten(0, 1).movedim(0, stream.image_axis)
                run = noised[k].run(self.captured, {**own, stream.node: copies}, len(images) * len(noise))
                read = self.read_out(run[self.tokens.node], tokens)
                parts.append(torch.unflatten(read, 0, (len(images), len(noise))).sum(1))
            found.append(torch.stack(parts).sum(0) / smoothing.draws)
        return torch.stack(found, 1)

    def drift(self, batches: Iterable[Tensor]) -> list[Tensor]:
        """Measure how far self-attention from the first layer on moves the mean tokens of each layer.

        Returns:
            For each layer the distance of both means, by coordinate, in the axes of its tokens without that of images.
        """
        streams = [self.stream(k) for k in range(len(self.layers) + 1)]
        wanted, total, n = {stream.node for stream in streams}, [torch.zeros(())] * len(streams), 0
        for images in batches:
            own = self.own(wanted | self.depths[0].given, images)
            changed = self.depths[0].run(self.captured, own, len(images), wanted & self.depths[0].computed)
            moved = [own[s.node] - changed.get(s.node, own[s.node]) for s in streams]
            total = [t + m.sum(s.image_axis) for t, m, s in zip(total, moved, streams, strict=True)]
            n += len(images)
        return [(each / n).abs() for each in total]

    def stream(self, layer: int) -> AllTokens:
        """Return the tokens in front of a layer; behind all of them for the last.

        Raises:
            SpecError: no one value holds them.
        """
        found = self.streams.output if layer == len(self.layers) else self.streams.inputs[layer]
        if found is None:
            raise SpecError(f"the tokens in front of {self.layers[layer]} are no one value that could be changed")
        return found

    def _noised(self, layer: int) -> Depth:
        graph = self.captured.module.graph
        return Depth.of(graph, self._replaced[layer], self.tokens.node, [self.stream(layer).node])

    @cached_property
    def token_kinds(self) -> tuple[Token, ...]:
        """What each token is."""
        return self.tokens.kinds(self.captured.trial.shape[1:])
