"""A linear classifier on representations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import InputError, SpecError
from vitdecomp.sources.source import Source

BATCH = 256  # images read at a time
STEPS = 2000


@dataclass(frozen=True, slots=True)
class LinearHead:
    """Representations to logits: r W^T + b.

    Attributes:
        weight: one row for each class, `(class, d)`.
        bias: `(class,)`.
    """

    weight: Float[Tensor, "class d"]
    bias: Float[Tensor, " class"]

    def __repr__(self) -> str:
        classes, d = self.weight.shape
        return f"LinearHead: {classes:,} classes, {d:,} dimensions, {str(self.weight.dtype).removeprefix('torch.')}"

    @classmethod
    def fit(
        cls,
        representations: Float[Tensor, "n d"],
        labels: Int64[np.ndarray, " n"],
        classes: int,
        *,
        strength: float = 1.0,
        balanced: bool = False,
    ) -> LinearHead:
        """Logistic regression by scikit-learn on standardised coordinates, with the standardisation folded in.

        Args:
            representations: of the images to learn from.
            labels: their classes, 0 to `classes` - 1.
            classes: how many there are.
            strength: the inverse weight of the penalty (`C` of scikit-learn): the smaller, the nearer comes the head
                to the difference of the classes' means.
            balanced: whether every class counts the same, however many images it has.

        Raises:
            InputError: a class without images.
        """
        from sklearn.linear_model import LogisticRegression

        present = np.unique(labels)
        if len(present) < max(classes, 2) or present[0] < 0 or present[-1] >= classes:
            missing = sorted({*range(classes)} - {*present.tolist()})
            raise InputError(f"a linear head needs images of every class; none of class {missing[0] if missing else 1}")
        x = representations.detach().double().cpu().numpy()
        center, scale = x.mean(0), x.std(0)
        scale[scale < 1e-12 * max(scale.max(), 1e-300)] = 1.0  # a constant coordinate tells nothing
        weights = "balanced" if balanced else None
        found = LogisticRegression(C=strength, max_iter=STEPS, class_weight=weights).fit((x - center) / scale, labels)
        rows, bias = found.coef_ / scale, found.intercept_ - (found.coef_ / scale) @ center
        if classes == 2:  # one row for two classes
            rows, bias = np.concatenate([-rows / 2, rows / 2]), np.concatenate([-bias / 2, bias / 2])
        return cls(torch.from_numpy(rows).float(), torch.from_numpy(bias).float())

    @classmethod
    def named(cls, weight: Tensor, bias: Tensor | None, names: Sequence[str], wanted: Sequence[str]) -> LinearHead:
        """Take the rows of a classifier that belong to some classes, found by their names or the first of several.

        Raises:
            SpecError: a class that the classifier does not know.
        """
        place = {name.split(",")[0].strip().lower(): i for i, name in reversed(list(enumerate(names)))}
        missing = next((name for name in wanted if name.lower() not in place), None)
        if missing is not None:
            raise SpecError(
                f"the model's classifier has no class {missing!r}{did_you_mean(missing.lower(), list(place))}"
            )
        rows = [place[name.lower()] for name in wanted]
        offset = weight.new_zeros(len(weight)) if bias is None else bias
        return cls(weight.detach()[rows].float().cpu(), offset.detach()[rows].float().cpu())

    def __call__(self, representations: Float[Tensor, "n d"]) -> Float[Tensor, "n class"]:
        """Logits."""
        return self.linear(representations) + self.bias.to(representations)

    def linear(self, vectors: Float[Tensor, "*axes d"]) -> Float[Tensor, "*axes class"]:
        """Compute what vectors add to the logits: the head without its bias."""
        return vectors @ self.weight.to(vectors).T


def batches(n: int) -> Iterator[range]:
    """Rows that are read together."""
    return (range(start, min(start + BATCH, n)) for start in range(0, n, BATCH))


def totals(source: Source) -> Float[Tensor, "n d"]:
    """Read the representations, a few images at a time."""
    return torch.cat([source.take(rows).total() for rows in batches(len(source))])
