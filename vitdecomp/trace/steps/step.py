"""What a kind of linear step supports, said once for each kind.

A step is a function that is linear in its first argument. That alone is enough to run it. What else is known of it,
such as how a slice or a sum over tokens passes it, saves time: the defaults of `LinearStep` hold for every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

import torch
from torch import Tensor

from vitdecomp._utils.registry import Registry
from vitdecomp.trace.linear_graph import run_step
from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.steps.places import Map
from vitdecomp.trace.steps.slices import Slice, SlicedStep
from vitdecomp.trace.steps.sums.weighted_sum import SummedStep, WeightedSum

Recorded: TypeAlias = "Mapping[Gate, Any]"
Shape: TypeAlias = "tuple[int, ...]"


class LinearStep:
    """A kind of linear step, `x -> fn(x, *args, **kwargs)`. Subclasses say what they can do better.

    Attributes:
        pointwise: each element is scaled or masked alone, and stays in its place.
        moves: elements are only moved, repeated, left out, or put among zeros.
    """

    pointwise: ClassVar[bool] = False
    moves: ClassVar[bool] = False

    def contracted_axis(self, args: Sequence[Any]) -> int | None:
        """Return the axis of the input that is summed over with a parameter: the channels there."""
        return None

    def stacked(self, step: Step, x: Tensor, recorded: Recorded) -> Tensor:
        """Apply the step to each of a stack of inputs, `(row, *shape)`."""
        result: Tensor = torch.vmap(lambda row: run_step(step, row, recorded))(x)
        return result

    def own_slice(self, step: Step) -> Slice | None:
        """Return the slice that the step itself takes of its input, if that is all it does."""
        return None

    def sliced(self, step: Step, wanted: Slice, before: Shape, after: Shape) -> SlicedStep | None:
        """Push a slice of the output in front of the step; `None` where it stays behind.

        Args:
            step: linear.
            wanted: the slice of the output.
            before: shape of the input on the trial batch.
            after: shape of the output.
        """
        return None

    def summed(
        self, step: Step, wanted: WeightedSum, before: Shape, after: Shape, recorded: Recorded
    ) -> SummedStep | None:
        """Push a weighted sum over the output in front of the step; `None` where it stays behind.

        Args:
            step: linear.
            wanted: the sum over factors of the output.
            before: shape of the input on the trial batch.
            after: shape of the output.
            recorded: gates of the trial batch.
        """
        return None

    def places(self, step: Step, values: Recorded) -> Map | None:
        """Return the map that stands in for the step where only places in the input count; `None` for the step itself.

        Raises:
            NoPlace: places are lost.
        """
        return None


STEPS: Registry[Any, LinearStep] = Registry("linear step")
ANY = LinearStep()
S = TypeVar("S", bound=LinearStep)


def register_step(*fns: Callable[..., Any], replace: bool = False) -> Callable[[type[S]], type[S]]:
    """Register what is known of the steps that some functions make: a subclass of `LinearStep`.

    Raises:
        SpecError: a function is registered already and `replace` is not set.
    """

    def decorate(kind: type[S]) -> type[S]:
        STEPS.register(*fns, replace=replace)(kind())
        return kind

    return decorate


def kind_of(fn: Callable[..., Any]) -> LinearStep:
    """Return what is known of the steps that a function makes."""
    return STEPS.get(fn) or ANY


def contracted_axis(step: Step) -> int | None:
    """Return the axis of a step's input that is summed with a parameter; `None` if the step mixes no channels."""
    return kind_of(step.fn).contracted_axis(step.args)
