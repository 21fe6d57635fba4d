"""Where in the input the elements of a value come from, and how that passes linear steps.

A field tells for every element of a value the mean place of what it is made of. Weights play no part in it: a sum over
channels is taken for their plain mean, a convolution or the largest of a window for the middle of its window. So what
acts on each token alike leaves places as they are, and what merges tokens finds the middle between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitdecomp.trace.linear_graph import resolve
from vitdecomp.trace.rule import Gate, Step, shape_of, varies
from vitdecomp.trace.rules.attention import append_axes
from vitdecomp.trace.rules.merge import length
from vitdecomp.trace.rules.pool import kept_axis, nearest_places
from vitdecomp.trace.rules.scatter import counted, outside_slices
from vitdecomp.trace.steps import kind_of
from vitdecomp.trace.steps.places import Map, NoPlace

aten = torch.ops.aten
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Field:
    """Where the elements of a value come from; all tensors have the value's shape.

    Attributes:
        seen: 1 where an element is made of the input, 0 elsewhere.
        at: its mean coordinate along each axis of an input.
        constant: 1 where an element belongs to a constant token, such as a class token.
        number: which constant token that is.
    """

    seen: Tensor
    at: tuple[Tensor, ...]
    constant: Tensor
    number: Tensor

    @classmethod
    def of_image(cls, image: Tensor) -> Field:
        """Return every pixel at its own place."""
        zero, one = (torch.full((), float(v), dtype=torch.float64).expand(image.shape) for v in (0, 1))
        sizes = image.shape[1:]
        grids = [torch.arange(s, dtype=torch.float64) for s in sizes]
        at = [g.reshape(-1, *(1,) * (len(sizes) - 1 - a)).expand(image.shape) for a, g in enumerate(grids)]
        return cls(one, tuple(at), zero, zero)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return self.seen, *self.at, self.constant, self.number

    @property
    def spread(self) -> float:
        """How far apart the places lie."""
        known = self.seen > 0
        return sum((float(a.max() - a.min()) for a in (axis[known] for axis in self.at) if len(a)), 0.0)

    def moved(self, fn: Map) -> Field:
        """Behind a map that only moves elements."""
        seen, *at, constant, number = map(fn, self.tensors)
        return Field(seen, tuple(at), constant, number)

    def mixed(self, fn: Map) -> Field:
        """Behind a map that adds elements up: their mean places."""
        seen, constant = fn(self.seen), fn(self.constant)
        if seen.is_complex():
            raise NoPlace("a Fourier transform")
        at = tuple(fn(self.seen * a) / seen.clamp_min(TINY) for a in self.at)
        number = fn(self.constant * self.number) / constant.clamp_min(TINY)
        return Field((seen > TINY).double(), at, (constant > TINY).double(), number)

    def filled(self, other: Field) -> Field:
        """With another field where this one knows nothing."""
        unknown = (self.seen + self.constant) == 0
        seen, *at, constant, number = (
            torch.where(unknown, b, a) for a, b in zip(self.tensors, other.tensors, strict=True)
        )
        return Field(seen, tuple(at), constant, number)


def together(fields: Sequence[Field]) -> Field | None:
    """Combine the fields of a sum: each element takes the field whose places lie farthest apart, if it is known there.

    Such an operand moved its elements; where another one mixed them, all lie nearer to the center.
    """
    ordered = sorted(fields, key=lambda field: -field.spread) if len(fields) > 1 else fields
    found = ordered[0] if ordered else None
    for field in ordered[1:]:
        found = field if found is None else found.filled(field)
    return found


def advance(step: Step, field: Field, values: Mapping[Gate, Any]) -> Field:
    """Carry a field through a step.

    Args:
        step: linear in the value.
        field: of the value.
        values: gates, at least of what the step needs to know.

    Raises:
        NoPlace: which elements the step moves where depends on the input.
    """
    kind = kind_of(step.fn)
    if kind.pointwise:
        return field
    stand_in = kind.places(step, values)
    if stand_in is not None:
        return field.mixed(stand_in)
    if step.fn is not append_axes and any(map(_of_image, (*step.args, *(a for _, a in step.kwargs)))):
        raise NoPlace(str(step.fn))
    args = tuple(_here(resolve(a, values)) for a in step.args)
    named = {name: _here(resolve(a, values)) for name, a in step.kwargs}

    def run(x: Tensor) -> Tensor:
        return step.fn(x, *args, **named)

    return field.moved(run) if kind.moves else field.mixed(run)


def _here(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


BY_SHAPE = {shape_of, length, counted, kept_axis, nearest_places, outside_slices}
"""Gates that depend on the shape of their operand alone."""


def _of_image(argument: Any) -> bool:
    """Check whether a step's argument depends on more of the image than its shape."""
    if isinstance(argument, Gate):
        return argument.fn not in BY_SHAPE and any(map(_of_image, argument.args))
    return any(map(_of_image, argument)) if isinstance(argument, tuple) else varies(argument)
