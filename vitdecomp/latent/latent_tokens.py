"""LatentTokens: a model and images in, every token of every layer in the space of the representation out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp._utils.modes import in_neutral_mode, neutral
from vitdecomp.component import Token
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError
from vitdecomp.latent.description import Descriptions, Vocabulary
from vitdecomp.latent.sweep import Sweep
from vitdecomp.models.adapter import LoadedModel
from vitdecomp.models.loaded_model import EncodeText, TextEncoder, as_encoder
from vitdecomp.sources.aligner import Aligner

AT_ONCE = 16  # images of a run at most: more are no faster


class LatentTokens:
    """Reads every token of every layer as a vector of the representation's space.

    From a layer on, every token attends to itself alone: the identity stands in the place of each attention pattern,
    and all else is as it was (values, output projections, MLPs, norms, convolutions, the merging of patches). Then the
    model reads each token as if it were the whole sequence.

    Args:
        model: a spec, a module, a `LoadedModel`, or a fitted `Decomposer`, which saves the time to trace.

    Attributes:
        decomposer_: of the model, fitted.
        layers_: paths of the blocks. Layer k is the input of block k, and the last layer, one more, is the model's own.
        tokens_: what each index of the token axis is, in the order of the model behind its last block.

    References:
        INViTE, ICLR 2024, section 3; docs/latent.md.
    """

    decomposer_: Decomposer
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
        model = self.model
        self.decomposer_ = model if isinstance(model, Decomposer) else Decomposer(model).fit(images)
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

    @in_neutral_mode
    def describe(
        self,
        images: Float[Tensor, "n *image"],
        texts: Sequence[str],
        space: EncodeText | TextEncoder | None = None,
        *,
        k: int = 3,
        aligner: Aligner | None = None,
        layers: Sequence[int] | None = None,
        tokens: Sequence[int] | None = None,
        published: bool = False,
    ) -> Descriptions:
        """Find the most similar texts of each token.

        Args:
            images: n images.
            texts: the vocabulary, of any size.
            space: gives texts vectors: a function, or an object with such a method, such as `ClipSpace`; by default
                the model itself.
            k: texts of each token.
            aligner: maps of the whole representation into the texts' space, where that is not the model's own.
            layers: as for `transform`.
            tokens: as for `transform`.
            published: normalize as the public code of INViTE does, over tokens in place of coordinates, a slip that
                changes the nearest text.

        Raises:
            InputError: images unlike those of `fit`; no texts, or vectors of another size.
            SpecError: no such layer or token, nobody reads texts, or the aligner has maps by component.
        """
        if k < 1:
            raise SpecError(f"k is the number of texts of each token, at least 1, not {k}")
        decomposer = self._fitted
        encode = as_encoder(space) or decomposer.loaded_.encode_text
        vocabulary = Vocabulary.of(texts, encode, aligner, decomposer.report_.dimension)
        batches = self.batches(images, layers=layers, tokens=tokens)
        found = [vocabulary.compare(z, k, published=published) for z in batches]
        return Descriptions(
            vocabulary.texts,
            tuple(_chosen(layers, len(self.layers_) + 1, "layer")),
            tuple(_chosen(tokens, len(self.tokens_), "token")),
            torch.cat([numbers for _, numbers in found]),
            torch.cat([values for values, _ in found]),
        )

    def batches(
        self,
        images: Float[Tensor, "n *image"],
        *,
        layers: Sequence[int] | None = None,
        tokens: Sequence[int] | None = None,
    ) -> Iterator[Float[Tensor, "m layer token d"]]:
        """Do what `transform` does, a few images at a time."""
        decomposer = self._fitted
        chosen = _chosen(layers, len(self.layers_) + 1, "layer"), _chosen(tokens, len(self.tokens_), "token")
        images = decomposer.checked(images)
        for some in decomposer.views.recorder(()).portions(images, AT_ONCE):
            with neutral(some):
                yield self._sweep.run(some, *chosen)

    @property
    def _fitted(self) -> Decomposer:
        if not hasattr(self, "decomposer_"):
            raise SpecError("LatentTokens is not fitted yet: call fit(images[:1])")
        return self.decomposer_

    @property
    def _sweep(self) -> Sweep:
        return Sweep.of(self._fitted)


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
