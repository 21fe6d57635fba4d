"""The one table of linear steps: how slices, weighted sums, stacks of vectors and places pass each."""

from vitdecomp.trace.steps import projection, reduction, scaling, selection, shape
from vitdecomp.trace.steps.step import ANY, STEPS, LinearStep, contracted_axis, kind_of, register_step

__all__ = [
    "ANY",
    "STEPS",
    "LinearStep",
    "contracted_axis",
    "kind_of",
    "projection",
    "reduction",
    "register_step",
    "scaling",
    "selection",
    "shape",
]
