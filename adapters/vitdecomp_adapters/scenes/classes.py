"""What the supervised models learn to tell apart: classes that mix factors, as those of ImageNet do.

Some classes are a shape whatever else is true of it, some a shape with a pattern, with a colour, or in a place. So
every factor decides something, and a model cannot throw any of them away.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from vitdecomp.scenes import FACTORS

# The factor that splits a shape into classes; a shape that is not here is one class.
SPLIT_BY: Mapping[str, str] = {
    "circle": "location",
    "moon": "location",
    "heart": "colour",
    "ring": "colour",
    "square": "colour",
    "cross": "pattern",
    "hexagon": "pattern",
    "star": "pattern",
    "triangle": "pattern",
}
NAMES = {"location": "{shape} in front of {value}", "pattern": "{value} {shape}", "colour": "{value} {shape}"}


def _classes_of(shape: str) -> tuple[str, ...]:
    factor = SPLIT_BY.get(shape)
    if factor is None:
        return (shape,)
    return tuple(NAMES[factor].format(shape=shape, value=value) for value in FACTORS[factor])


CLASSES: tuple[str, ...] = tuple(name for shape in FACTORS["shape"] for name in _classes_of(shape))


def classify(labels: Mapping[str, Int64[np.ndarray, "n"]]) -> Int64[np.ndarray, "n"]:
    """The class of every scene.

    Args:
        labels: the number of each factor's value, as `SceneDataset.labels` gives them.

    Returns:
        Numbers into `CLASSES`.
    """
    found = np.full_like(labels["shape"], -1)
    first = 0
    for number, shape in enumerate(FACTORS["shape"]):
        mine = labels["shape"] == number
        factor = SPLIT_BY.get(shape)
        found[mine] = first if factor is None else first + labels[factor][mine]
        first += len(_classes_of(shape))
    return found
