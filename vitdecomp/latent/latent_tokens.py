"""LatentTokens: a model and images in, every token of every layer in the space of the representation out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp._utils.modes import in_neutral_mode, neutral
from vitdecomp.component import Token
from vitdecomp.decompose import Decomposer
from vitdecomp.errors import SpecError
from vitdecomp.latent.description import Descriptions, Vocabulary
from vitdecomp.latent.noise import Smoothing
from vitdecomp.latent.numbers import chosen
from vitdecomp.latent.sweep import Sweep
from vitdecomp.models.adapter import LoadedModel
from vitdecomp.models.loaded_model import EncodeText, TextEncoder, as_encoder
from vitdecomp.sources.aligner import Aligner

AT_ONCE = 16  # images of a run at most: more are no faster


@dataclass(frozen=True, slots=True)
class Drift:
    """How far tokens that attend to themselves alone are from the model's own, as means over images.

    Attributes:
        cosine: of both vectors in the representation's space. distance: between them, as a share of the own's length.
    """

    cosine: Float[Tensor, "layer token"]
    distance: Float[Tensor, "layer token"]


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
        """Trace the model on one or more images; for smoothing on some hundred, on which the noise is measured.

        Raises:
            InputError: images that the model cannot take.
            SpecError: tokens of this model say nothing by themselves; the message says why.
        """
        model = self.model
        self.decomposer_ = model if isinstance(model, Decomposer) else Decomposer(model).fit(images)
        self.layers_, self.tokens_ = self._sweep.layers, self._sweep.token_kinds
        self._images = self.decomposer_.checked(images)
        return self

    @in_neutral_mode
    def drift(self, images: Float[Tensor, "n *image"]) -> Drift:
        """Measure how far tokens that attend to themselves alone are from the model's own.

        Args:
            images: n images.
        """
        cosine, distance, n = torch.zeros(()), torch.zeros(()), 0
        for z in self.batches(images):
            own = z[:, -1:]
            cosine = cosine + torch.cosine_similarity(z, own, dim=-1).sum(0)
            distance = distance + ((z - own).norm(dim=-1) / own.norm(dim=-1).clamp_min(1e-12)).sum(0)
            n += len(z)
        return Drift(cosine / n, distance / n)

    @in_neutral_mode
    def transform(
        self,
        images: Float[Tensor, "n *image"],
        *,
        layers: Sequence[int] | None = None,
        tokens: Sequence[int] | None = None,
        smoothing: Smoothing | None = None,
    ) -> Float[Tensor, "n layer token d"]:
        """Read the tokens of images.

        Args:
            images: n images.
            layers: from which block on tokens attend to themselves, 0 for all blocks, each once; all by default.
            tokens: which tokens, each once; all by default.
            smoothing: average over noised copies of the tokens, whose deviation was measured on the images of `fit`.

        Raises:
            InputError: images unlike those of `fit`. SpecError: no such layer or token, or not fitted yet.
        """
        return torch.cat([*self.batches(images, layers=layers, tokens=tokens, smoothing=smoothing)])

    @in_neutral_mode
    def describe(  # noqa: PLR0913 - one for each setting
        self,
        images: Float[Tensor, "n *image"],
        texts: Sequence[str],
        space: EncodeText | TextEncoder | None = None,
        *,
        k: int = 3,
        aligner: Aligner | None = None,
        layers: Sequence[int] | None = None,
        tokens: Sequence[int] | None = None,
        smoothing: Smoothing | None = None,
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
            smoothing: as for `transform`.
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
        batches = self.batches(images, layers=layers, tokens=tokens, smoothing=smoothing)
        found = [vocabulary.compare(z, k, published=published) for z in batches]
        return Descriptions(
            vocabulary.texts,
            tuple(chosen(layers, len(self.layers_) + 1, "layer")),
            tuple(chosen(tokens, len(self.tokens_), "token")),
            torch.cat([numbers for _, numbers in found]),
            torch.cat([values for values, _ in found]),
        )

    def batches(
        self,
        images: Float[Tensor, "n *image"],
        *,
        layers: Sequence[int] | None = None,
        tokens: Sequence[int] | None = None,
        smoothing: Smoothing | None = None,
    ) -> Iterator[Float[Tensor, "m layer token d"]]:
        """Do what `transform` does, a few images at a time."""
        decomposer = self._fitted
        numbers = chosen(layers, len(self.layers_) + 1, "layer"), chosen(tokens, len(self.tokens_), "token")
        images = decomposer.checked(images)
        for some in self._portions(images):
            with neutral(some):
                if smoothing is None:
                    yield self._sweep.run(some, *numbers)
                else:
                    yield self._sweep.smoothed(some, *numbers, smoothing, self._deviation)

    @property
    def _fitted(self) -> Decomposer:
        if not hasattr(self, "decomposer_"):
            raise SpecError("LatentTokens is not fitted yet: call fit(images[:1])")
        return self.decomposer_

    @property
    def _deviation(self) -> list[Tensor]:
        """The drift of each layer, measured once for each state of the weights."""
        decomposer = self._fitted
        if getattr(self, "_measured", (None,))[0] != decomposer.origin_:
            self._measured = decomposer.origin_, self._sweep.drift(self._portions(self._images))
        return self._measured[1]

    def _portions(self, images: Tensor) -> Sequence[Tensor]:
        return self._fitted.views.recorder(()).portions(images, AT_ONCE)

    @property
    def _sweep(self) -> Sweep:
        return Sweep.of(self._fitted)
