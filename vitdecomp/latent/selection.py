"""Which tokens an edit is for: by a mask, by texts that name them, or by their similarity to a direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitdecomp.decompose import Decomposer
from vitdecomp.errors import InputError
from vitdecomp.latent.description import Vocabulary, mapped
from vitdecomp.latent.numbers import chosen
from vitdecomp.latent.sweep import Sweep
from vitdecomp.models.loaded_model import EncodeText, TextEncoder, as_encoder
from vitdecomp.sources.aligner import Aligner


@dataclass(frozen=True)
class Named:
    """Select the patches whose nearest text is one of some.

    Args:
        texts: that name what is selected, such as `"a written word"`.
        among: the other texts of the vocabulary, which name all else.
        layer: in which the tokens are read; from this block on they attend to themselves alone.
        space: gives texts vectors; by default the model itself.
        aligner: maps of the whole representation into the texts' space, where that is not the model's own.
    """

    texts: Sequence[str]
    among: Sequence[str]
    layer: int = 0
    space: EncodeText | TextEncoder | None = None
    aligner: Aligner | None = None

    def rule(self, decomposer: Decomposer) -> Rule:
        """Encode the texts.

        Raises:
            SpecError: nobody reads texts, or the maps are not of the whole representation.
            InputError: no texts, or no others.
        """
        texts = (self.texts,) if isinstance(self.texts, str) else tuple(self.texts)
        others = tuple(text for text in self.among if text not in texts)
        if not texts or not others:
            raise InputError("texts= and among= need at least one text each: what is selected, and what is not")
        encode = as_encoder(self.space) or decomposer.loaded_.encode_text
        known = Vocabulary.of((*texts, *others), encode, self.aligner, decomposer.report_.dimension)
        return Rule(self.layer, known.vectors, known.weight, known.bias, texts=len(texts))


@dataclass(frozen=True)
class Similar:
    """Select the patches whose cosine with a direction is large.

    Args:
        direction: in the representation's space, `(d,)`.
        above: the smallest cosine that counts.
        layer: in which the tokens are read.
    """

    direction: Tensor
    above: float
    layer: int = 0

    def rule(self, decomposer: Decomposer) -> Rule:
        """Check the direction.

        Raises:
            InputError: it is of another size.
        """
        d = decomposer.report_.dimension
        if self.direction.shape != (d,):
            raise InputError(f"direction must be ({d},), not {tuple(self.direction.shape)}")
        unit = self.direction / self.direction.norm()
        return Rule(self.layer, unit[None], above=self.above)


Selection: TypeAlias = "Tensor | Named | Similar"


@dataclass(frozen=True)
class Rule:
    """A selection as numbers: the patches of a layer that are near to some vectors.

    Attributes:
        layer: in which tokens are read.
        vectors: of unit length.
        weight, bias: the map from the representation's space into theirs.
        texts: how many of the vectors, the first ones, name what is selected; a patch is, if the nearest is among them.
        above: in place of these: the smallest cosine with the first vector.
    """

    layer: int
    vectors: Float[Tensor, "vector d_text"]
    weight: Float[Tensor, "d d_text"] | None = None
    bias: Float[Tensor, " d_text"] | None = None
    texts: int = 0
    above: float | None = None

    def mask(self, sweep: Sweep, images: Tensor) -> Bool[Tensor, "n token"]:
        """Select tokens of images.

        Raises:
            SpecError: there is no such layer.
        """
        layer = chosen([self.layer], len(sweep.layers) + 1, "layer")
        z = sweep.run(images, layer, range(len(sweep.token_kinds)))[:, 0]
        x = mapped(z, self.weight, self.bias)
        cosine = torch.nn.functional.normalize(x, dim=-1) @ self.vectors.to(x).T
        found = cosine.argmax(-1) < self.texts if self.above is None else cosine[..., 0] >= self.above
        patches = torch.tensor([token.kind == "patch" for token in sweep.token_kinds], device=found.device)
        selected: Tensor = found & patches
        return selected
