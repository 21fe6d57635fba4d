"""Spectral reweighting: one learned scale for each unit."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vitdecomp._utils.estimator import Estimator
from vitdecomp.ablation.linear_head import LinearHead, batches
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.provenance import Origin
from vitdecomp.sources.source import Source

STEPS = 500
Self = TypeVar("Self", bound="SpectralReweighting")


class SpectralReweighting(Estimator):
    """Scale every unit so that a linear head classifies the sum well; the head is left as it is (ResiDual).

    c_u' = m_u + s_u (c_u - m_u), with m_u the mean of unit u over the images of `fit`. The scales s minimise the mean
    cross-entropy of the head's logits of the sum plus |s - 1|^2 / (2 n C), a convex problem with one number a unit.
    Units are components, or principal or singular directions of them.

    Args:
        strength: C, the inverse weight of the penalty that pulls scales to 1.

    Attributes:
        components_: the units, constants left out. scales_: s, `(unit,)`. means_: m, `(unit, d)`.
        origin_: the model of the contributions, if it is known.

    References:
        ResiDual, arXiv 2411.00246, which scales principal directions of heads.
    """

    components_: tuple[Component, ...]
    scales_: Float[Tensor, " unit"]
    means_: Float[Tensor, "unit d"]
    origin_: Origin | None

    def __init__(self, *, strength: float = 1.0) -> None:
        self.strength = strength

    def fit(self: Self, source: Source, labels: Int64[np.ndarray, " n"], head: LinearHead) -> Self:
        """Learn the scales.

        Args:
            source: contributions of units, in memory or on disk.
            labels: classes of the images, from 0.
            head: gives the logits of a representation.

        Raises:
            InputError: labels of other images, or of classes that the head does not have.
            SpecError: a strength that is not positive.
        """
        if self.strength <= 0:
            raise SpecError(f"strength must be positive, not {self.strength}")
        if len(labels) != len(source) or len(labels) < 2:
            raise InputError(f"{len(labels)} labels for {len(source)} images: give one for each of two or more")
        if labels.min() < 0 or labels.max() >= len(head.weight):
            raise InputError(f"labels must be 0 to {len(head.weight) - 1}, the classes of the head")
        place = [i for i, one in enumerate(source.components) if not one.is_constant]
        sums = [source.take(rows).values[:, place].double().sum(0) for rows in batches(len(source))]
        self.means_ = torch.stack(sums).sum(0) / len(source)
        added, rest = [], []  # what deviations of units add to the logits, and what stays whatever the scales
        for rows in batches(len(source)):
            c = source.take(rows)
            deviations = c.values[:, place].double() - self.means_
            added.append(head.linear(deviations))
            rest.append(head(c.total().double() - deviations.sum(1)))
        self.components_ = tuple(source.components[i] for i in place)
        self.scales_ = best_scales(torch.cat(added), torch.cat(rest), labels, self.strength)
        self.origin_ = source.take([0]).origin
        return self

    def transform(self, c: Contributions) -> Contributions:
        """Scale the units; `.total()` is then the reweighted representation.

        Raises:
            InputError: contributions of another model, or that lack a unit. SpecError: not fitted yet.
        """
        if not hasattr(self, "scales_"):
            raise SpecError("this SpectralReweighting is not fitted yet: call fit(source, labels, head) first")
        if self.origin_ is not None:
            self.origin_.check(c.origin, "the scales were fitted to")
        known = {component: i for i, component in enumerate(c.components)}
        missing = [one.name for one in self.components_ if one not in known]
        if missing:
            raise InputError(f"the contributions lack {missing[0]}, which has a scale")
        place, values = [known[one] for one in self.components_], c.values.clone()
        means, scales = self.means_.to(values), self.scales_.to(values)
        values[:, place] = means + scales[:, None] * (values[:, place] - means)
        return replace(c, values=values)


def best_scales(
    added: Float64[Tensor, "n unit class"],
    rest: Float64[Tensor, "n class"],
    labels: Int64[np.ndarray, " n"],
    strength: float,
) -> Float64[Tensor, " unit"]:
    """Solve for the scales, from what units add to logits.

    Args:
        added: what the deviation of each unit from its mean adds.
        rest: the logits without these.
        labels: classes of the images.
        strength: C, as for `SpectralReweighting`.
    """
    from scipy.optimize import minimize  # which takes longer to import than all else

    features, fixed, n = added.numpy(), rest.numpy(), len(labels)
    target = np.eye(fixed.shape[1])[labels]

    def loss(scales: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.einsum("nuk,u->nk", features, scales) + fixed
        logits -= logits.max(1, keepdims=True)
        log_total = np.log(np.exp(logits).sum(1, keepdims=True))
        error = (np.exp(logits - log_total) - target) / n
        away = (scales - 1) / (n * strength)
        value = -float(((logits - log_total) * target).sum()) / n + float(away @ (scales - 1)) / 2
        return value, np.einsum("nuk,nk->u", features, error) + away

    found = minimize(loss, np.ones(features.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    return torch.from_numpy(found.x)
