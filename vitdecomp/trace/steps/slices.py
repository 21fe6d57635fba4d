"""Slices of one axis, and what is left of a step that a slice was pushed through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from vitdecomp.trace.rule import Step


class Slice(NamedTuple):
    """A range of one axis."""

    dim: int
    start: int
    length: int


class SlicedStep(NamedTuple):
    """A step that a slice was pushed through: what is wanted of its input, and the step that is left."""

    wanted: Slice | None
    step: Step | None


NOTHING = SlicedStep(Slice(-1, 0, 0), None)  # the slice lies where the step puts zeros


def cut_to(x: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Copy a range of one axis, so that the rest can be freed."""
    return x.narrow(dim, start, length).clone()


def cut_gate(gate: Any, rank: int, dim: int, start: int, length: int) -> Any:
    """Take the same range of a gate that is broadcast against a value of some rank."""
    axis = dim - rank
    if not isinstance(gate, Tensor) or gate.ndim < -axis or gate.shape[axis] == 1:
        return gate
    return gate.narrow(axis, start, length)


def resized(size: Sequence[int], dim: int, length: int) -> tuple[int, ...]:
    """Return a shape with one axis of another length."""
    return (*size[:dim], length, *size[dim + 1 :])
