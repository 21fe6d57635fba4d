"""A pool of texts, and which of them are best read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp_alignment.readout.moments import quadratic

LEAST = 0.1  # share of a text's variance that earlier texts must have left


@dataclass(frozen=True, slots=True)
class Chosen:
    """A text that can be read.

    Attributes:
        index: in the pool. r2: held out, of what earlier texts leave of it. error: its standard error over the folds.
        vector: what earlier texts leave of the text, `(e,)`.
    """

    index: int
    r2: float
    error: float
    vector: Float[Tensor, " e"]


@dataclass(frozen=True, slots=True)
class TextPool:
    """Texts whose similarities with images are predicted.

    Attributes:
        vectors: of the texts, of unit length. total: second moment of CLIP's vectors by fold.
        spread: sum of squares of the similarity with each text. chunk: texts that are scored at a time.
        features: what each text speaks of, where that is known.
    """

    vectors: Float[Tensor, "t e"]
    total: Float[Tensor, "fold e e"]
    spread: Float[Tensor, " t"]
    chunk: int
    features: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, vectors: Float[Tensor, "t e"], total: Float[Tensor, "fold e e"], chunk: int, features: Sequence[str] | None
    ) -> TextPool:
        """Compute how much the similarity with each text varies."""
        spread = quadratic(total.sum(0), vectors, chunk).clamp(min=1e-300)
        return cls(vectors, total, spread, chunk, None if features is None else tuple(features))

    def r2(self, left: Float[Tensor, "fold e e"]) -> Float[Tensor, " t"]:
        """Compute R^2 of every text from the second moments of what regressions leave."""
        return 1 - quadratic(left.sum(0), self.vectors, self.chunk) / self.spread

    def choose(self, left: Float[Tensor, "fold e e"], m: int, feature: str | None = None) -> list[Chosen]:
        """Choose texts one by one, each after what those before it say.

        Args:
            left: second moments of what regressions leave, by fold.
            m: how many.
            feature: what the first one is to speak of.
        """
        found: list[Chosen] = []
        moment = self.total.sum(0)
        rest = torch.eye(self.vectors.shape[1], dtype=self.vectors.dtype)  # texts to what earlier ones leave of them
        allowed = torch.tensor([feature is None or own == feature for own in self.features or ()] or [True])
        while len(found) < min(m, len(self.vectors)):
            own = self.vectors @ rest.T
            variance = quadratic(moment, own, self.chunk) if found else self.spread
            gain = (variance - quadratic(left.sum(0), own, self.chunk)) / self.spread
            gain[(variance <= LEAST * self.spread) | ~(allowed | bool(found))] = float("-inf")
            best = int(gain.argmax())
            if gain[best] == float("-inf"):
                break
            text = own[best]
            residual, whole = (torch.einsum("e,fed,d->f", text, each, text) for each in (left, self.total))
            error = (1 - residual / whole.clamp(min=1e-300)).std() / len(whole) ** 0.5
            found.append(Chosen(best, 1 - float(residual.sum() / whole.sum()), float(error), text))
            weights = moment @ text / (text @ moment @ text)  # of the similarity with it, in that with any other
            rest = rest - torch.outer(text, weights) @ rest
        return found
