"""Linear probes: how well a factor can be read from vectors by a linear classifier.

References:
    Alain and Bengio, "Understanding intermediate layers using linear classifier probes", arXiv 1610.01644.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vitdecomp.errors import InputError, SpecError
from vitdecomp.metrics.inputs import Labels, Vectors, as_double, as_factors

RIDGE = 0.01  # penalty per fitted row, in units of the variance of a standardised feature
WIDE = 512  # from this many features on, it is cheaper to look for a basis of the rows
SKETCHED = 96  # random combinations of rows; a head is 64 wide, or 80
NEGLIGIBLE = 1e-5  # of the largest singular value: nothing against the penalty
STILL = 1e-6  # of the size of a vector's features: the spread of one that does not vary but for rounding


@dataclass(frozen=True, slots=True)
class Decodability:
    """How well a factor can be read.

    Attributes:
        accuracy: balanced accuracy on held-out rows, the mean of the values' recalls, 0 .. 1.
        chance: 1 / number of values.
        score: (accuracy - chance) / (1 - chance), not below 0.
    """

    accuracy: float
    chance: float
    score: float

    @classmethod
    def of(cls, found: Int64[np.ndarray, " m"], truth: Int64[np.ndarray, " m"]) -> Decodability:
        """From what a classifier found, and what is true."""
        values, at = np.unique(truth, return_inverse=True)
        right = np.bincount(at, weights=found == truth, minlength=len(values))
        accuracy, chance = float(np.mean(right / np.bincount(at))), 1 / len(values)
        return cls(accuracy, chance, max(0.0, (accuracy - chance) / (1 - chance)))


class Probe:
    """A ridge classifier on standardised features for each of several factors, in one closed form.

    W = (Z'Z + ridge n I)^-1 Z'Y, with Z the standardised rows and Y a centered column for each value of each
    factor; a row has the value whose column is largest. This is scikit-learn's `RidgeClassifier(alpha=ridge * n)`.

    Args:
        ridge: the penalty, per fitted row.

    Attributes:
        classes_: the values of every factor.
        mean_, scale_: of the features, `(d,)`. weight_: `(d, value)`. offset_: `(value,)`.
    """

    classes_: dict[str, Int64[np.ndarray, " value"]]
    mean_: Tensor
    scale_: Tensor
    weight_: Tensor
    offset_: Tensor

    def __init__(self, ridge: float = RIDGE) -> None:
        if not ridge > 0:
            raise SpecError(f"ridge must be positive, not {ridge}")
        self.ridge = ridge

    def fit(self, x: Vectors, labels: Mapping[str, Labels]) -> Probe:
        """Fit the classifiers of all factors to the same rows.

        Raises:
            InputError: vectors or labels of the wrong shape or content, or a factor with one value only.
        """
        rows = as_double(x, "x", "n, d")
        factors = as_factors(labels, len(rows))
        _check_values(factors)
        self.classes_ = {name: np.unique(values) for name, values in factors.items()}
        columns = [factors[name][:, None] == classes for name, classes in self.classes_.items()]
        targets = torch.from_numpy(np.concatenate(columns, axis=1)).to(rows)
        self.offset_, self.mean_ = targets.mean(0), rows.mean(0)
        centered = rows - self.mean_
        spread = centered.square().mean(0).sqrt()
        size = rows.square().mean(0).sqrt()
        self.scale_ = torch.where(spread > STILL * size.max(), spread, torch.inf)  # a still feature says nothing
        self.weight_ = _ridge(centered / self.scale_, targets - self.offset_, self.ridge * len(rows))
        return self

    def predict(self, x: Vectors) -> dict[str, Int64[np.ndarray, " n"]]:
        """Predict the value of every factor for each row."""
        rows = as_double(x, "x", "n, d")
        if rows.shape[1] != len(self.mean_):
            raise InputError(f"x has {rows.shape[1]} features, but the probe was fitted to {len(self.mean_)}")
        columns = ((rows - self.mean_) / self.scale_) @ self.weight_ + self.offset_
        ends = np.cumsum([len(classes) for classes in self.classes_.values()])[:-1]
        parts = torch.tensor_split(columns, ends.tolist(), dim=1)
        best = (part.argmax(1).numpy() for part in parts)
        return {name: classes[i] for (name, classes), i in zip(self.classes_.items(), best, strict=True)}

    def read(self, x: Vectors, labels: Mapping[str, Labels]) -> dict[str, Decodability]:
        """Return how well every factor is read from rows that the probe may never have seen.

        Raises:
            InputError: vectors or labels of the wrong shape or content, or a factor with one value only.
        """
        found = self.predict(x)
        factors = as_factors(labels, len(x))
        _check_values(factors)
        return {name: Decodability.of(values, factors[name]) for name, values in found.items()}


@dataclass(frozen=True, slots=True)
class Halves:
    """The rows that probes are fitted to, and the others; the same for all factors."""

    fitted: Int64[np.ndarray, " a"]
    held_out: Int64[np.ndarray, " b"]

    @classmethod
    def draw(cls, n: int, held_out: float, seed: int) -> Halves:
        """Draw a random split.

        Raises:
            SpecError: the held-out share is not between 0 and 1.
            InputError: too few rows for both parts.
        """
        if not 0 < held_out < 1:
            raise SpecError(f"held_out must be a share between 0 and 1, not {held_out}")
        order = np.random.default_rng(seed).permutation(n)
        kept = n - round(n * held_out)
        if not 2 <= kept <= n - 2:
            raise InputError(f"{n} images are too few to hold out a share of {held_out}; give more")
        return cls(np.sort(order[:kept]), np.sort(order[kept:]))

    def fit(self, x: Float64[Tensor, "n d"], labels: Mapping[str, np.ndarray]) -> Probe:
        """Fit a probe to one part."""
        return Probe().fit(x[self.fitted], {name: values[self.fitted] for name, values in labels.items()})

    def read(
        self, probe: Probe, x: Float64[Tensor, "n d"], labels: Mapping[str, np.ndarray]
    ) -> dict[str, Decodability]:
        """Measure what the probe reads from the other part."""
        return probe.read(x[self.held_out], {name: values[self.held_out] for name, values in labels.items()})


def decodability(x: Vectors, labels: Labels, *, held_out: float = 0.5, seed: int = 0) -> Decodability:
    """Return how well a linear classifier reads a factor from vectors, on rows that it was not fitted to.

    Args:
        x: one vector for each image, `(n, d)`.
        labels: the factor's value for each image, `(n,)` whole numbers.
        held_out: share of the rows that are measured on.
        seed: of the split.

    Raises:
        InputError: labels of another length, NaN, or one value only in a part of the split.
        SpecError: a share that is none.
    """
    rows = as_double(x, "x", "n, d")
    factors = as_factors({"labels": labels}, len(rows))
    halves = Halves.draw(len(rows), held_out, seed)
    return halves.read(halves.fit(rows, factors), rows, factors)["labels"]


def _check_values(factors: Mapping[str, np.ndarray]) -> None:
    for name, values in factors.items():
        if len(values) == 0 or (values == values[0]).all():
            raise InputError(f"{name!r} has a single value among {len(values)} images: a probe needs two")


def _ridge(z: Float64[Tensor, "n d"], y: Float64[Tensor, "n value"], penalty: float) -> Float64[Tensor, "d value"]:
    """Ridge regression, in the smallest of three spaces that give the same weights: features, rows, row basis."""
    basis = _row_basis(z)
    if basis is not None:
        return basis @ _solved(z @ basis, y, penalty)
    return _solved(z, y, penalty)


def _solved(z: Tensor, y: Tensor, penalty: float) -> Tensor:
    n, d = z.shape
    wide = n < d
    gram = z @ z.T if wide else z.T @ z
    gram.diagonal().add_(penalty)
    factor = torch.linalg.cholesky(gram)
    return z.T @ torch.cholesky_solve(y, factor) if wide else torch.cholesky_solve(z.T @ y, factor)


def _row_basis(z: Float64[Tensor, "n d"]) -> Tensor | None:
    """Find an orthonormal basis of the rows, `(d, rank)`, where they are many and span little; else `None`.

    A head's contributions span at most its width. Random combinations of rows span what the rows span, if they
    are more than the rank (Halko, Martinsson and Tropp 2011); fewer dimensions than combinations prove it.
    """
    n, d = z.shape
    if min(n, d) < WIDE:
        return None
    source = torch.Generator().manual_seed(0)
    combinations = torch.randn(SKETCHED, n, generator=source, dtype=z.dtype) @ z
    _, sizes, basis = torch.linalg.svd(combinations, full_matrices=False)
    rank = int((sizes > NEGLIGIBLE * sizes[0]).sum())
    return basis[:rank].T if 0 < rank < SKETCHED else None
