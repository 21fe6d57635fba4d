"""Whether names are true: words for factors that are known, and components from which these can be read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from vitdecomp.component import Component
from vitdecomp.metrics import Knowledge
from vitdecomp_alignment.clip.space import ClipSpace
from vitdecomp_alignment.clip.zero_shot import ZeroShot
from vitdecomp_alignment.readout.readout import Readout
from vitdecomp_alignment.texts import scene_values
from vitdecomp_alignment.textspan.textspan import TextSpan

UNDERSTOOD = 0.5  # how often CLIP itself must be right by words
KNOWN = 0.3  # a factor's score, from which on a component is said to know it
Labels = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class FactorWords:
    """Words for the values of factors.

    Attributes:
        readers: for each factor a classifier by words.
        factor_of: all texts, with the factor that each speaks of. vectors: theirs, `(text, d)`.
    """

    readers: Mapping[str, ZeroShot]
    factor_of: Mapping[str, str]
    vectors: Float[Tensor, "text d"]

    @classmethod
    def of(cls, space: ClipSpace, seen: Float[Tensor, "n d"], labels: Labels) -> FactorWords:
        """Those of scenes, without the factors whose words CLIP itself does not understand.

        Args:
            space: where the words are.
            seen: CLIP's own vectors of scenes.
            labels: their factors.
        """
        every = {f: values for f, values in scene_values().items() if f in labels}
        readers = {f: _reader(space, list(values.items())) for f, values in every.items()}
        right = read(seen, labels, readers)
        readers = {f: reader for f, reader in readers.items() if right[f] >= UNDERSTOOD} or readers
        texts = {text: f for f in readers for said in every[f].values() for text in said}
        vectors = space.encode_text(tuple(texts)).cpu() if texts else seen[:0]
        return cls(readers, texts, vectors)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Tell whether a component is said to see the factor that is best read from it.

    Attributes:
        components: how many know a factor. rate: of them, those of which it is said. chance: if what is said were dealt
            out to components at random.
    """

    components: int
    rate: float
    chance: float

    @property
    def kappa(self) -> float:
        """Cohen's kappa: the rate with chance taken off, 1 where every name is right and 0 at chance."""
        return (self.rate - self.chance) / (1 - self.chance)


def read(vectors: Float[Tensor, "n d"], labels: Labels, readers: Mapping[str, ZeroShot]) -> dict[str, float]:
    """Return how often the text that is nearest to a vector is true, by factor."""
    return {f: float((reader.predict(vectors).numpy() == labels[f]).mean()) for f, reader in readers.items()}


def first_factors(span: TextSpan | Readout, factor_of: Mapping[str, str]) -> dict[Component, str]:
    """Return what the first text of each component speaks of.

    Args:
        span: what names components, fitted with labels.
        factor_of: what each text speaks of.
    """
    first = span.labels_ or ()
    return {c: factor_of[texts[0]] for c, texts in zip(span.components_, first, strict=True) if texts}


def roles(readout: Readout, *, clear: bool = False) -> dict[Component, str]:
    """Return the role of each component, or of those whose role is clear."""
    every = zip(readout.components_, readout.roles_, strict=True)
    return {c: role.feature for c, role in every if role is not None and (role.clear or not clear)}


def agreement(said: Mapping[Component, str], known: Knowledge, factors: Collection[str]) -> Agreement:
    """Compare what components are said to see with what can be read.

    Args:
        said: a factor for each component.
        known: what can be read from the same components in their own space.
        factors: those that could be said.
    """
    factors = [f for f in known.factors if f in factors]
    scores = np.stack([known.of(factor) for factor in factors], axis=1)
    pairs = [
        (said[component], factors[int(row.argmax())])
        for component, row in zip(known.components, scores, strict=True)
        if component in said and row.max() >= KNOWN
    ]
    if not pairs:
        return Agreement(0, float("nan"), float("nan"))
    told, true = (np.array(column) for column in zip(*pairs, strict=True))
    chance = sum(float((told == f).mean() * (true == f).mean()) for f in factors)
    return Agreement(len(pairs), float((told == true).mean()), chance)


def _reader(space: ClipSpace, values: Sequence[tuple[str, tuple[str, ...]]]) -> ZeroShot:
    """Build a classifier from the mean over the texts of each value."""
    means = torch.stack([space.encode_text(texts).cpu().mean(0) for _, texts in values])
    return ZeroShot(tuple(value for value, _ in values), normalize(means, dim=1))
