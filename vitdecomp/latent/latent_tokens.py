"""LatentTokens: a model and images in, every token of every layer in the space of the representation out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from vitdecomp._utils.modes import in_neutral_mode
from vitdecomp.attention.attentions import Attentions
from vitdecomp.component import Token
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError
from vitdecomp.latent.depth import Depth, OwnRun, Replacement
from vitdecomp.latent.folded import fold
from vitdecomp.latent.read_out import ReadOut, last_tokens
from vitdecomp.latent.self_attention import SelfAttention
from vitdecomp.models.adapter import LoadedModel
from vitdecomp.trace.axes.attention_ops import attention_operations
from vitdecomp.trace.rule import module_path
from vitdecomp.trace.search import Search

AT_ONCE = 16  # images of a run at most: more are no faster


class LatentTokens:
    """Reads every token of every layer as a vector of the representation's space.

    From a layer on, every token attends to itself alone: the identity stands in the place of each attention pattern,
    and all else is as it was (values, output projections, MLPs, norms, convolutions, the merging of patches). Then the
    model reads each token as if it were the whole sequence.

    Args:
        model: a spec, a module, a `LoadedModel`, or a fitted `Decomposer`, which saves the time to trace.

    Attributes:
        layers_: paths of the blocks. Layer k is the input of block k, and the last layer, one more, is the model's own.
        tokens_: what each index of the token axis is, in the order of the model behind its last block.

    References:
        INViTE, ICLR 2024, section 3; docs/latent.md.
    """

    layers_: tuple[str, ...]
    tokens_: tuple[Token, ...]

    def __init__(self, model: nn.Module | LoadedModel | Decomposer | str) -> None:
        self.model = model

    @in_neutral_mode
    def fit(self, images: Float[Tensor, "n *image"]) -> LatentTokens:
        """Trace the model on one or more images.

        Raises:
            InputError: images that the model cannot take.
            SpecError: tokens of this model say nothing by themselves; the message says why.
        """
        self._sweep = Sweep.of(self.model if isinstance(self.model, Decomposer) else Decomposer(self.model).fit(images))
        self.layers_, self.tokens_ = self._sweep.layers, self._sweep.token_kinds
        return self

    @in_neutral_mode
    def transform(
        self,
        images: Float[Tensor, "n *image"],
        *,
        layers: Sequence[int] | None = None,
        tokens: Sequence[int] | None = None,
    ) -> Float[Tensor, "n layer token d"]:
        """Read the tokens of images.

        Args:
            images: n images.
            layers: from which block on tokens attend to themselves, 0 for all blocks; all layers by default.
            tokens: which tokens; all by default.

        Raises:
            InputError: images unlike those of `fit`. SpecError: no such layer or token, or not fitted yet.
        """
        return torch.cat([*self.batches(images, layers=layers, tokens=tokens)])

    def batches(
        self,
        images: Float[Tensor, "n *image"],
        *,
        layers: Sequence[int] | None = None,
        tokens: Sequence[int] | None = None,
    ) -> Iterator[Float[Tensor, "m layer token d"]]:
        """Do what `transform` does, a few images at a time."""
        sweep = self.sweep
        chosen = _chosen(layers, len(self.layers_) + 1, "layer"), _chosen(tokens, len(self.tokens_), "token")
        images = sweep.decomposer.checked(images)
        for some in sweep.decomposer.views.recorder(()).portions(images, AT_ONCE):
            yield sweep.run(some, *chosen)

    @property
    def sweep(self) -> Sweep:
        """What `fit` has found.

        Raises:
            SpecError: not fitted yet.
        """
        if not hasattr(self, "_sweep"):
            raise SpecError("LatentTokens is not fitted yet: call fit(images[:1])")
        return self._sweep


class Sweep:
    """One sweep over all layers.

    Args:
        decomposer: fitted to the model.
        attentions: of the model.

    Attributes:
        layers: paths of the blocks.
    """

    def __init__(self, decomposer: Decomposer, attentions: Attentions) -> None:
        self.decomposer, self.captured = decomposer, attentions.captured
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
        """Find it once for each model."""
        views = decomposer.views
        attentions = views.derived(Attentions, lambda: Attentions.of(views.paths))
        return views.derived(cls, lambda: cls(decomposer, attentions))

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
        found = [self.read_out(self.depths[k].run(self.captured, own.kept, len(images)))[:, tokens] for k in layers]
        return torch.stack(found, 1)

    @cached_property
    def token_kinds(self) -> tuple[Token, ...]:
        """What each token is."""
        return self.tokens.kinds(self.captured.trial.shape[1:])


def _chosen(asked: Sequence[int] | None, count: int, what: str) -> list[int]:
    """Check the numbers of layers or tokens; negative ones count from the end.

    Raises:
        SpecError: there is no such number.
    """
    if asked is None:
        return list(range(count))
    wrong = [i for i in asked if not -count <= i < count]
    if wrong or not asked:
        given = f"no {what} {wrong[0]}" if wrong else f"no {what} is asked for"
        raise SpecError(f"{given}: {what}s of this model are 0 to {count - 1}")
    return [i % count for i in asked]
