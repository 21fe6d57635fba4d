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


@dataclass(frozen=True, slots=True)
class Coordinates:
    """A component's values, centered, in the directions along which they vary.

    Attributes:
        values: coordinates of every image, `(n, r)`.
        mean: of the values that they were made of.
        basis: orthonormal columns, `(d, r)`: a value is `mean + coordinates @ basis.T`, but for rounding.
    """

    values: Float[Tensor, "n r"]
    mean: Float[Tensor, " d"]
    basis: Float[Tensor, "d r"]

    @classmethod
    def of(cls, values: Float[Tensor, "n d"]) -> Coordinates:
        """Find the directions."""
        mean = values.double().mean(0)
        centered = values.double() - mean
        scale, basis = torch.linalg.eigh(centered.T @ centered)
        basis = basis[:, scale > RANK**2 * scale.max().clamp(min=1e-300)]
        return cls(centered @ basis, mean, basis)


def regression(c: Float[Tensor, "n r"], targets: Float[Tensor, "n m"], strength: float) -> Float[Tensor, "r m"]:
    """Compute the weights of a ridge regression of centered targets on centered coordinates, on all images."""
    return _solved(c.T @ c / len(c), c.T @ targets / len(c), strength)


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
        weights = _solved(gram, (products.sum(0) - products[k]) / (len(c) - len(part)), strength)
        # (t - c w)^T (t - c w) from moments: images are many, and the directions of a component few.
        explained = weights.T @ (products[k] - squares[k] @ weights / 2)
        found.append(folds.total[k] - explained - explained.T)
    return torch.stack(found)


def quadratic(moment: Float[Tensor, "e e"], texts: Float[Tensor, "t e"], chunk: int) -> Float[Tensor, " t"]:
    """Compute t^T M t for each text, some texts at a time."""
    parts = torch.split(texts, chunk)
    return torch.cat([((part @ moment) * part).sum(1) for part in parts])


def _solved(gram: Float[Tensor, "r r"], products: Float[Tensor, "r m"], strength: float) -> Float[Tensor, "r m"]:
    ridge = strength * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    found: Tensor = torch.linalg.solve(gram + ridge, products)
    return found
