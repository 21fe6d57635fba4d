"""A classifier that is made of texts alone."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from vitdecomp.errors import InputError


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Tells classes apart by how near their texts are to a representation in CLIP space.

    Attributes:
        classes: their names.
        weight: the unit vector of each class's text, `(class, d)`.
    """

    classes: tuple[str, ...]
    weight: Float[Tensor, "class d"]

    def __repr__(self) -> str:
        return f"ZeroShot: {len(self.classes):,} classes, {self.weight.shape[1]:,} dimensions"

    def __call__(self, representations: Float[Tensor, "n d"]) -> Float[Tensor, "n class"]:
        """Cosine of the angle between every representation and every class, without CLIP's temperature.

        Args:
            representations: vectors in CLIP space of any norm, such as the `total()` of contributions.

        Raises:
            InputError: they are of another dimension.
        """
        d = self.weight.shape[1]
        if representations.ndim != 2 or representations.shape[1] != d:
            raise InputError(f"representations must be (n, {d}), not {tuple(representations.shape)}")
        return normalize(representations, dim=1) @ self.weight.to(representations).T

    def predict(self, representations: Float[Tensor, "n d"]) -> Int64[Tensor, " n"]:
        """Return the index of the nearest class in `classes`, for every representation.

        Raises:
            InputError: they are of another dimension.
        """
        return self(representations).argmax(1)
