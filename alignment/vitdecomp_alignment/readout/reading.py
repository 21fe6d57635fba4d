"""What can be read from one component."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp_alignment.readout.roles import Role


@dataclass(frozen=True, slots=True)
class Reading:
    """Tell what can be read from one component.

    Attributes:
        indices: of the texts, the best first. scores: held-out R^2 of each, after what the texts before it say.
        errors: standard error of each over the folds.
        control: the best R^2 of any text when images are shuffled, the largest of all shuffles.
        named: whether the first text is read better than any text of shuffled images, by two standard errors.
        weights: of the regressions on all images, `(d, m)`: c @ weights + offsets are the similarities with the texts,
            those of earlier ones regressed out. offsets: `(m,)`. texts: vectors behind the similarities, `(m, e)`.
        role: what the component sees, where it is known what the texts speak of.
    """

    indices: tuple[int, ...]
    scores: tuple[float, ...]
    errors: tuple[float, ...]
    control: float
    named: bool
    weights: Float[Tensor, "d m"] = field(repr=False)
    offsets: Float[Tensor, " m"] = field(repr=False)
    texts: Float[Tensor, "m e"] = field(repr=False)
    role: Role | None = None

    @classmethod
    def nothing(cls, dimension: int, e: int) -> Reading:
        """Say that a constant tells nothing."""
        weights = torch.zeros(dimension, 0, dtype=torch.float64)
        return cls((), (), (), 0.0, False, weights, weights.sum(0), weights.new_zeros(0, e))

    def through(self, basis: Float[Tensor, "d r"] | None) -> Reading:
        """Take weights for coefficients to weights for contributions, which are coefficients times a basis."""
        return self if basis is None else replace(self, weights=basis.double() @ self.weights)

    def score(
        self, values: Float[Tensor, "n r"], basis: Float[Tensor, "d r"] | None, seen: Float[Tensor, "n e"]
    ) -> tuple[float, ...]:
        """Compute R^2 of each text on images, from a component's coefficients and CLIP's vectors of unit length."""
        weights = self.weights if basis is None else basis.double().T @ self.weights
        true = seen @ self.texts.T
        left = (true - values.double() @ weights - self.offsets).square().sum(0)
        r2: list[float] = (1 - left / (true - true.mean(0)).square().sum(0).clamp(min=1e-300)).tolist()
        return tuple(r2)
