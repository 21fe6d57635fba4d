"""Causal tests: what a reader of the representation loses when the components of a factor are taken away.

References:
    Mean ablation of components: Gandelsman, Efros and Steinhardt, "Interpreting CLIP's Image Representation via
    Text-Based Decomposition", arXiv 2310.05916. Measuring every factor for every intervention: Elazar et al.,
    "Amnesic Probing", arXiv 2006.00995.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError
from vitdecomp.metrics.inputs import Labels, as_factors, pick, rows_of, summed
from vitdecomp.metrics.probes import Halves, Probe


@dataclass(frozen=True, slots=True)
class Causal:
    """What is left of every factor when the components of one are replaced by their mean.

    All numbers are `Decodability.score`, 0 (chance) .. 1, or differences of it.

    Attributes:
        factors: the names of the factors.
        before: of the whole representation, `(factor,)`.
        after: without the components of one factor, measured for every factor, `(ablated, factor)`.
        control: drop of each factor when as many components as it has are drawn at random, `(factor,)`.
    """

    factors: tuple[str, ...]
    before: Float64[np.ndarray, " factor"]
    after: Float64[np.ndarray, "ablated factor"]
    control: Float64[np.ndarray, " factor"]

    @property
    def drop(self) -> Float64[np.ndarray, "ablated factor"]:
        """What every factor loses when the components of one are ablated: before - after."""
        drop: Float64[np.ndarray, "ablated factor"] = self.before - self.after
        return drop

    @property
    def selectivity(self) -> Float64[np.ndarray, " factor"]:
        """For each factor, what its components' ablation costs it, minus the mean of what it costs the others."""
        own = self.drop.diagonal()
        others = self.drop.sum(axis=1) - own
        difference: Float64[np.ndarray, " factor"] = own - others / max(len(self.factors) - 1, 1)
        return difference


def causal_matrix(
    c: Contributions,
    labels: Mapping[str, Labels],
    components: Mapping[str, Sequence[Component]],
    *,
    refit: bool = False,
    held_out: float = 0.5,
    draws: int = 5,
    seed: int = 0,
) -> Causal:
    """Mean-ablate the components of each factor in the sum, and read every factor from the result.

    Args:
        c: contributions to n images.
        labels: for every factor its value for each image, `(n,)` whole numbers.
        components: for every factor the components that stand for it, such as `choose` finds.
        refit: by default the probe was fitted to the whole representation: what a reader downstream loses. With
            `refit` it is fitted again to what is left: whether the information is anywhere else.
        held_out: share of the images that are measured on.
        draws: how many random choices the control is the mean of; they are among all that are not constant.
        seed: of the split and of the control.

    Raises:
        InputError: labels of another length, no components, one value only in a part of the split.
        SpecError: a factor without labels, or a component that the contributions do not have.
    """
    factors = as_factors(pick(components, labels), len(c))
    if draws < 1:
        raise InputError(f"draws = {draws}; give at least one")
    halves = Halves.draw(len(c), held_out, seed)
    whole = summed(c, None)
    probe = halves.fit(whole, factors)

    def scores(x: Float64[Tensor, "n d"], reader: Probe) -> Float64[np.ndarray, " factor"]:
        return np.array([read.score for read in halves.read(reader, x, factors).values()])

    def without(rows: Sequence[int]) -> Float64[np.ndarray, " factor"]:
        removed = c.values[:, rows].to(whole).sum(1)
        left = whole - removed + removed.mean(0)
        return scores(left, halves.fit(left, factors) if refit else probe)

    chosen = [rows_of(c, components[name]) for name in factors]
    before = scores(whole, probe)
    after = np.array([without(rows) for rows in chosen])
    computed = [i for i, component in enumerate(c.components) if not component.is_constant]
    source = np.random.default_rng(seed)
    control = np.zeros(len(chosen))
    for i, rows in enumerate(chosen):
        if len(rows) > len(computed):
            raise InputError(f"{len(rows)} components to ablate, but only {len(computed)} are not constant")
        left = [without(source.choice(computed, len(rows), replace=False).tolist())[i] for _ in range(draws)]
        control[i] = before[i] - np.mean(left)
    return Causal(tuple(factors), before, after, control)
