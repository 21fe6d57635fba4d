"""Which component knows which factor: a probe on the contribution of every component alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.metrics.inputs import Labels, as_double, as_factors
from vitdecomp.metrics.probes import Halves


@dataclass(frozen=True, slots=True)
class Knowledge:
    """How well every factor can be read from every component.

    Attributes:
        components: the components of the contributions, in their order.
        factors: the names of the factors.
        scores: `Decodability.score` of each pair, 0 (chance) .. 1, `(component, factor)`.
    """

    components: tuple[Component, ...]
    factors: tuple[str, ...]
    scores: Float64[np.ndarray, "component factor"]

    def of(self, factor: str) -> Float64[np.ndarray, " component"]:
        """Return the scores of one factor.

        Raises:
            SpecError: an unknown factor.
        """
        if factor not in self.factors:
            raise SpecError(f"no factor {factor!r}{did_you_mean(factor, self.factors)}")
        scores: Float64[np.ndarray, " component"] = self.scores[:, self.factors.index(factor)]
        return scores

    def ranking(self, factor: str) -> tuple[Component, ...]:
        """Return all components, the one that knows the factor best first; equals in their own order."""
        return tuple(self.components[i] for i in np.argsort(-self.of(factor), kind="stable"))

    def top(self, factor: str, k: int) -> tuple[Component, ...]:
        """Return the k components that know the factor best.

        Raises:
            InputError: more than there are, or none.
        """
        if not 1 <= k <= len(self.components):
            raise InputError(f"k = {k} components, but there are {len(self.components)}")
        return self.ranking(factor)[:k]


def component_decodability(
    c: Contributions, labels: Mapping[str, Labels], *, held_out: float = 0.5, seed: int = 0
) -> Knowledge:
    """Measure the decodability of every factor from every component's contribution alone.

    Constants (kind `const`) are not fitted: they score 0. What varies of them is the scale of a final norm.

    Args:
        c: contributions to n images.
        labels: for every factor its value for each image, `(n,)` whole numbers.
        held_out: share of the images that are measured on.
        seed: of the split, which is the same for all components and factors.

    Raises:
        InputError: labels of another length, NaN, or one value only in a part of the split.
        SpecError: a share that is none.
    """
    factors = as_factors(labels, len(c))
    halves = Halves.draw(len(c), held_out, seed)
    scores = np.zeros((len(c.components), len(factors)))
    for i, component in enumerate(c.components):
        if not component.is_constant:
            x = as_double(c.values[:, i], f"contributions of {component}", "n, d")
            read = halves.read(halves.fit(x, factors), x, factors)
            scores[i] = [read[name].score for name in factors]
    return Knowledge(c.components, tuple(factors), scores)


def choose(knowledge: Knowledge, k: int) -> Mapping[str, tuple[Component, ...]]:
    """For each factor the k components that know it most before all others.

    A component belongs to the factor that it scores best on, after Balasubramanian et al., "Decomposing and
    Interpreting Image Representations via Text in ViTs Beyond CLIP", arXiv 2406.01583. Here components are ordered
    by their margin: the score of the factor minus the best score of another one. Those that know nothing of the
    factor come last, constants never. Components chosen with a positive margin are chosen for one factor only.

    Raises:
        InputError: k is not between 1 and the number of components that are not constant.
    """
    computed = [i for i, component in enumerate(knowledge.components) if not component.is_constant]
    if not 1 <= k <= len(computed):
        raise InputError(f"k = {k} components for each factor, but there are {len(computed)} that are not constant")
    chosen = {}
    for column, factor in enumerate(knowledge.factors):
        mine = knowledge.scores[computed, column]
        others = np.delete(knowledge.scores[computed], column, axis=1)
        margin = mine - others.max(axis=1, initial=0.0)
        order = np.lexsort((-margin, mine <= 0))
        chosen[factor] = tuple(knowledge.components[computed[i]] for i in order[:k])
    return chosen
