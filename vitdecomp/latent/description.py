"""Latent tokens in words: the texts that are most similar to each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp.component import WHOLE
from vitdecomp.errors import InputError, SpecError
from vitdecomp.models.loaded_model import EncodeText
from vitdecomp.sources.aligner import Aligner

AT_ONCE = 4096  # texts that are compared at a time
TINY = 1e-12


@dataclass(frozen=True)
class Descriptions:
    """The most similar texts of each token.

    Attributes:
        texts: the vocabulary. layers, tokens: numbers along the axes.
        indices: of texts, the most similar first. similarities: their cosines.
    """

    texts: tuple[str, ...]
    layers: tuple[int, ...]
    tokens: tuple[int, ...]
    indices: Int64[Tensor, "n layer token k"]
    similarities: Float[Tensor, "n layer token k"]

    def words(self, image: int, layer: int, token: int) -> list[tuple[str, float]]:
        """Return the texts of one token, with their similarities.

        Raises:
            SpecError: the layer or the token was not described.
        """
        for number, known, what in ((layer, self.layers, "layer"), (token, self.tokens, "token")):
            if number not in known:
                raise SpecError(f"{what} {number} was not described: there are {', '.join(map(str, known))}")
        at = image, self.layers.index(layer), self.tokens.index(token)
        found = zip(self.indices[at].tolist(), self.similarities[at].tolist(), strict=True)
        return [(self.texts[i], similarity) for i, similarity in found]


@dataclass(frozen=True)
class Vocabulary:
    """Texts as unit vectors in the space in which tokens are compared.

    Attributes:
        texts: the texts. vectors: of unit length. weight, bias: the map from the representation's space into theirs.
    """

    texts: tuple[str, ...]
    vectors: Float[Tensor, "text d_text"]
    weight: Float[Tensor, "d d_text"] | None = None
    bias: Float[Tensor, " d_text"] | None = None

    @classmethod
    def of(cls, texts: Sequence[str], encode: EncodeText | None, aligner: Aligner | None, d: int) -> Vocabulary:
        """Encode texts, a few at a time.

        Args:
            texts: the vocabulary.
            encode: gives texts vectors; `None` if nobody does.
            aligner: maps of the whole representation into the texts' space, `None` where that is the model's own.
            d: the size of the representation.

        Raises:
            SpecError: nobody reads texts, or the maps are not of the whole representation.
            InputError: no texts, or vectors of another size.
        """
        known = tuple(texts)
        if encode is None:
            raise SpecError("texts: the model reads none; give space=, such as a ClipSpace, and aligner= of it")
        if not known or not all(isinstance(text, str) for text in known):
            raise InputError("texts: give a list of one or more strings")
        parts = [encode(known[i : i + AT_ONCE]).detach() for i in range(0, len(known), AT_ONCE)]
        vectors = torch.cat(parts)
        weight, bias = (None, None) if aligner is None else _whole(aligner)
        size = d if weight is None else weight.shape[1]
        if vectors.shape[1] != size:
            where = "the model" if weight is None else "the maps"
            raise InputError(f"texts have vectors of {vectors.shape[1]}, {where} of {size}: give maps into their space")
        return cls(known, vectors / vectors.norm(dim=1, keepdim=True).clamp_min(TINY), weight, bias)

    def compare(
        self, z: Float[Tensor, "n layer token d"], k: int, *, published: bool = False
    ) -> tuple[Float[Tensor, "n layer token k"], Int64[Tensor, "n layer token k"]]:
        """Find the most similar texts.

        Args:
            z: latent tokens.
            k: how many texts.
            published: divide by the norm over the tokens of each coordinate, as the public code does by a slip.

        Returns:
            Cosines, the largest first, and the numbers of the texts.
        """
        x = mapped(z, self.weight, self.bias)
        x = x / x.norm(dim=-2 if published else -1, keepdim=True).clamp_min(TINY)
        best = self._best(x, range(0, len(self.texts), AT_ONCE), k)
        order = best[0].topk(min(k, len(self.texts)), dim=-1)
        return order.values, best[1].gather(-1, order.indices)

    def _best(self, x: Tensor, starts: Iterable[int], k: int) -> tuple[Tensor, Tensor]:
        """Find the most similar texts of each portion."""
        values, numbers = [], []
        for start in starts:
            some = self.vectors[start : start + AT_ONCE].to(x)
            found = (x @ some.T).topk(min(k, len(some)), dim=-1)
            values.append(found.values)
            numbers.append(found.indices + start)
        return torch.cat(values, -1), torch.cat(numbers, -1)


def mapped(
    z: Float[Tensor, "*lead d"], weight: Float[Tensor, "d d_text"] | None, bias: Float[Tensor, " d_text"] | None
) -> Float[Tensor, "*lead d_text"]:
    """Take vectors into the space of texts by a linear map; `None` where there is none."""
    x = z if weight is None else z @ weight.to(z)
    return x if bias is None else x + bias.to(z)


def _whole(aligner: Aligner) -> tuple[Tensor, Tensor | None]:
    """Return the map of the whole representation, and its bias.

    Raises:
        SpecError: each component has a map of its own.
    """
    if set(getattr(aligner, "components_", ())) != {WHOLE}:
        raise SpecError("latent tokens need maps of the whole representation: vitdecomp align --by representation")
    bias: Tensor | None = getattr(getattr(aligner, "maps_", None), "bias", None)
    return aligner.restricted(WHOLE), bias
