"""What stands in for a contribution that is taken away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import InputError, SpecError

Values = Callable[[Sequence[int]], Tensor]  # rows to the contributions of the components, (n, k, d)
BATCH = 256  # images read at a time
DONORS = 1024  # images kept to draw from


class Replacement(ABC):
    """Stand-ins for the contributions of k components, learned from images.

    Attributes:
        constant: whether every image gets the same.
    """

    constant = False

    @abstractmethod
    def fit(self, values: Values, labels: Int64[np.ndarray, " n"] | None, n: int, seed: int) -> None:
        """Learn from n images; `values` reads some of them."""

    @abstractmethod
    def __call__(self, rows: Sequence[int], labels: Int64[np.ndarray, " n"] | None) -> Float[Tensor, "_ k d"]:
        """Return what the images in these rows get, `(n, k, d)`, or `(1, k, d)` if it is the same for all."""


class Zero(Replacement):
    """Nothing: the contribution is gone."""

    constant = True

    def fit(self, values: Values, labels: Int64[np.ndarray, " n"] | None, n: int, seed: int) -> None:
        """Note the shape."""
        self._nothing = torch.zeros_like(values([0]))

    def __call__(self, rows: Sequence[int], labels: Int64[np.ndarray, " n"] | None) -> Float[Tensor, "_ k d"]:
        """Zeros."""
        return self._nothing


class Mean(Replacement):
    """The mean over images, so that the mean of the sum stays."""

    constant = True

    def fit(self, values: Values, labels: Int64[np.ndarray, " n"] | None, n: int, seed: int) -> None:
        """Add up, in float64."""
        parts = (values(rows) for rows in _batches(n))
        first = next(parts)
        total = first.double().sum(0)
        for part in parts:
            total += part.double().sum(0)
        self._mean = (total / n).to(first)[None]

    def __call__(self, rows: Sequence[int], labels: Int64[np.ndarray, " n"] | None) -> Float[Tensor, "_ k d"]:
        """Return the mean."""
        return self._mean


class ClassMean(Replacement):
    """The mean over the images of the same class: what tells classes apart stays, nothing else does."""

    def fit(self, values: Values, labels: Int64[np.ndarray, " n"] | None, n: int, seed: int) -> None:
        """Add up within classes, in float64."""
        self._classes, places = np.unique(_given(labels), return_inverse=True)
        counts = torch.from_numpy(np.bincount(places))
        like = values(range(1))
        total = like.new_zeros((len(counts), *like.shape[1:]), dtype=torch.float64)
        for rows in _batches(n):
            part = values(rows)
            total.index_add_(0, torch.from_numpy(places[rows.start : rows.stop]).to(part.device), part.double())
        self._means = (total / counts[:, None, None].to(total)).to(like)

    def __call__(self, rows: Sequence[int], labels: Int64[np.ndarray, " n"] | None) -> Float[Tensor, "_ k d"]:
        """Return the mean of every image's class."""
        wanted = _given(labels)
        unknown = sorted({*wanted.tolist()} - {*self._classes.tolist()})
        if unknown:
            raise InputError(f"no image of class {unknown[0]} was in fit, so that class has no mean")
        return self._means[torch.from_numpy(np.searchsorted(self._classes, wanted)).to(self._means.device)]


class Resample(Replacement):
    """The contributions of another image, all components from the same one.

    Row r gets those of image r mod m of the m images kept, in a random order: the images of `fit` themselves are
    permuted, and the marginal distribution stays as it was.
    """

    def fit(self, values: Values, labels: Int64[np.ndarray, " n"] | None, n: int, seed: int) -> None:
        """Keep some images."""
        order = np.random.default_rng(seed).permutation(n)[:DONORS]
        self._donors = torch.cat([values(order[part.start : part.stop].tolist()) for part in _batches(len(order))])

    def __call__(self, rows: Sequence[int], labels: Int64[np.ndarray, " n"] | None) -> Float[Tensor, "_ k d"]:
        """Contributions of other images."""
        return self._donors[[row % len(self._donors) for row in rows]]


VALUES: dict[str, type[Replacement]] = {"zero": Zero, "mean": Mean, "resample": Resample, "class-mean": ClassMean}


def make_replacement(value: str) -> Replacement:
    """Make a replacement by its name.

    Raises:
        SpecError: there is none.
    """
    if value not in VALUES:
        raise SpecError(f"cannot replace by {value!r}{did_you_mean(value, list(VALUES))}")
    return VALUES[value]()


def _batches(n: int) -> Any:
    return (range(start, min(start + BATCH, n)) for start in range(0, n, BATCH))


def _given(labels: Int64[np.ndarray, " n"] | None) -> Int64[np.ndarray, " n"]:
    if labels is None:
        raise InputError("value='class-mean' needs the classes of the images: give labels")
    return labels
