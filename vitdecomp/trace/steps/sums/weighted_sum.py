"""Weighted sums over some factors of a value's axes, the image's place among them known.

A sum sees a value with its axes split into factors, `(n * windows, 49, width)` as `(n, windows, 49, width)` say,
multiplies it by weights and adds it up over some of the factors, as in `(n, width)`. There may be several sums with
different weights, as there is one for each of the four places in a block of tokens that are merged. A sum over nothing
only says which factors there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitdecomp.trace.leaf_values import without
from vitdecomp.trace.rule import Gate, Step, by_shape

Shape = tuple[int, ...]
Groups = tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """Describe the factors of a value, and which of them are added up with which weights.

    Attributes:
        groups: the factors of each axis, from the outermost to the innermost, with the sizes of the trial batch.
        image: which factor counts the images.
        summed: factors that are added up.
        sums: how many sums there are, along axes in front of all factors.
        weights: `(*sums, *factors)`, broadcast against the factors.
    """

    groups: Groups
    image: int
    summed: frozenset[int]
    sums: Shape
    weights: Gate

    @property
    def factors(self) -> Shape:
        """All factors in order, with the sizes of the trial batch."""
        return tuple(size for group in self.groups for size in group)

    @property
    def numbered(self) -> list[range]:
        """The numbers of the factors of each axis."""
        ends = [*accumulate((len(group) for group in self.groups), initial=0)]
        return [range(start, end) for start, end in pairwise(ends)]

    @property
    def view(self) -> Shape:
        """The shape that splits a value of any batch into its factors."""
        return tuple(-1 if i == self.image else size for i, size in enumerate(self.factors))

    @property
    def kept(self) -> tuple[int, ...]:
        """The factors that are kept; those of size one go too."""
        return tuple(i for i, size in enumerate(self.factors) if i == self.image or not (i in self.summed or size == 1))

    @property
    def after(self) -> Shape:
        """The shape of the result, for any batch."""
        return (*self.sums, *(self.view[i] for i in self.kept))

    def single(self, axis: int) -> int | None:
        """Return the factor that is an axis as a whole, if one is."""
        return self.numbered[axis][0] if len(self.groups[axis]) == 1 else None

    def step(self) -> Step | None:
        """Return the sum as a step of the linear graph; `None` if it changes nothing."""
        if self.summed:
            return Step(weighted_sum, self._arguments)
        same = len(self.kept) == len(self.factors) and all(len(group) == 1 for group in self.groups)
        return None if same else Step(torch.reshape, (self.after,))

    def weighted(self, recorded: Mapping[Gate, Any]) -> set[int]:
        """Return the factors along which the weights differ on the trial batch."""
        return {i for i, size in enumerate(recorded[self.weights].shape[len(self.sums) :]) if size > 1}

    def of(self, value: Gate) -> Gate:
        """Sum a recorded value; of a difference, each of its terms once."""
        if value.fn is without:
            return Gate(without, tuple(self.of(term) for term in value.args))
        return Gate(weighted_sum, (value, *self._arguments))

    @property
    def _arguments(self) -> tuple[Gate, Shape, Shape]:
        return self.weights, self.view, tuple(sorted(self.summed))


def weighted_sum(x: Tensor, weights: Tensor, view: Shape, axes: Sequence[int]) -> Tensor:
    """Weighted sums over some factors of x, `(*sums, *factors that are kept)`."""
    x = x.reshape(view)
    sums = weights.ndim - x.ndim
    for axis in axes:
        # x repeats itself: add the weights up instead. Where directions are pulled, x only stands in for its shape.
        if x.stride(axis) == 0 and x.shape[axis] > 1 and not x.requires_grad:
            sizes = [x.shape[axis] if i == sums + axis else size for i, size in enumerate(weights.shape)]
            x, weights = x.narrow(axis, 0, 1), weights.expand(sizes).sum(sums + axis, keepdim=True)
    labels = [*range(x.ndim, x.ndim + sums), *range(x.ndim)]
    varying = [i for i, size in enumerate(weights.shape) if i < sums or size > 1]
    narrow = weights.to(x.dtype).reshape([weights.shape[i] for i in varying])
    kept = [*labels[:sums], *(axis for axis in range(x.ndim) if axis not in axes)]
    summed = torch.einsum(x, [*range(x.ndim)], narrow, [labels[i] for i in varying], kept)
    left = [size for axis, size in enumerate(x.shape) if axis not in axes and view[axis] != 1]
    return summed.reshape([*weights.shape[:sums], *left])


class SummedStep(NamedTuple):
    """A step that a sum was pushed through: what is wanted of its input, and the step that is left."""

    wanted: WeightedSum
    step: Step | None


@by_shape
def ones(output: Tensor) -> Tensor:
    """Return the weights with which everything begins, one for each image, `(n, 1)`."""
    return output.new_ones(len(output), 1)


def refined(known: WeightedSum, shape: Shape) -> tuple[Groups, tuple[int, ...]] | None:
    """Factor another shape with the same elements in the same order; return also the old factor of each new one.

    Factors of size one go. `None` where the two ways to split do not fit together.
    """
    old, new = spans(known.factors), spans(shape)
    ends = sorted({*old, *new}, reverse=True)
    if 0 in ends or any(high % low for high, low in pairwise(ends)):
        return None
    steps = [*pairwise(ends)]
    parents = tuple(next(i for i in range(len(old) - 1) if old[i] >= high > old[i + 1]) for high, _ in steps)
    groups = tuple(tuple(high // low for high, low in steps if new[i] >= high > new[i + 1]) for i in range(len(shape)))
    return (groups, parents) if parents.count(known.image) == 1 else None


def spans(shape: Sequence[int]) -> list[int]:
    """Return how many elements there are behind the start of each axis, and behind all of them one."""
    return [*accumulate(reversed(shape), lambda a, b: a * b, initial=1)][::-1]
