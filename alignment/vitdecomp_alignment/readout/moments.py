"""Second moments of a component and of CLIP's vectors by folds, and how well the one predicts the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

RANK = 1e-6  # directions along which a component varies less, as a share of the most, are rounding


@dataclass(frozen=True, slots=True)
class Folds:
    """CLIP's vectors in folds.

    Attributes:
        parts: the images of each fold.
        targets: the vectors, centered, `(n, e)`.
        total: their second moment in each fold, `(fold, e, e)`.
    """

    parts: tuple[Tensor, ...]
    targets: Float[Tensor, "n e"]
    total: Float[Tensor, "fold e e"]

    @classmethod
    def of(cls, targets: Float[Tensor, "n e"], count: int, random_state: int) -> Folds:
        """Deal images out to folds at random."""
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(random_state))
        parts = tuple(order.tensor_split(count))
        centered = targets - targets.mean(0)
        return cls(parts, centered, torch.stack([centered[part].T @ centered[part] for part in parts]))

    def shuffled(self, random_state: int) -> Folds:
        """Give each image the vector of another one."""
        source = torch.Generator().manual_seed(random_state)
        return Folds.of(
            self.targets[torch.randperm(len(self.targets), generator=source)], len(self.parts), random_state
        )


def coordinates(values: Float[Tensor, "n d"]) -> Float[Tensor, "n r"]:
    """Return a component's values, centered, in the directions along which they vary."""
    centered = (values - values.mean(0)).double()
    scale, basis = torch.linalg.eigh(centered.T @ centered)
    found: Tensor = centered @ basis[:, scale > RANK**2 * scale.max().clamp(min=1e-300)]
    return found


def residuals(c: Float[Tensor, "n r"], folds: Folds, strength: float) -> Float[Tensor, "fold e e"]:
    """Compute the second moment of what ridge regressions on the other folds leave of CLIP's vectors, by fold.

    Args:
        c: coordinates of one component.
        folds: CLIP's vectors.
        strength: of the ridge, as a multiple of the mean square of a coordinate.
    """
    squares = torch.stack([c[part].T @ c[part] for part in folds.parts])
    products = torch.stack([c[part].T @ folds.targets[part] for part in folds.parts])
    found = []
    for k, part in enumerate(folds.parts):
        gram = (squares.sum(0) - squares[k]) / (len(c) - len(part))
        ridge = strength * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weights = torch.linalg.solve(gram + ridge, (products.sum(0) - products[k]) / (len(c) - len(part)))
        # (t - c w)^T (t - c w) from moments: images are many, and the directions of a component few.
        explained = weights.T @ (products[k] - squares[k] @ weights / 2)
        found.append(folds.total[k] - explained - explained.T)
    return torch.stack(found)


def quadratic(moment: Float[Tensor, "e e"], texts: Float[Tensor, "t e"], chunk: int) -> Float[Tensor, " t"]:
    """Compute t^T M t for each text, some texts at a time."""
    parts = torch.split(texts, chunk)
    return torch.cat([((part @ moment) * part).sum(1) for part in parts])
