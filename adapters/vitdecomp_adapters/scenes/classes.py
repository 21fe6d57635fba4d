"""What the supervised models learn to tell apart: classes that mix factors, as those of ImageNet do.

A class is a shape with a pattern, with a colour, or in a place; one is a shape whatever else is true of it. So a
picture belongs to several classes at once, every factor decides something, and a model cannot throw any away.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from vitdecomp.scenes import FACTORS

NAMES: Mapping[str, str] = {
    "pattern": "{value} {shape}",
    "colour": "{value} {shape}",
    "location": "{shape} in front of {value}",
}
WHOLE = ("arrow",)  # shapes that are one class each


def _classes_of(shape: str) -> tuple[str, ...]:
    if shape in WHOLE:
        return (shape,)
    return tuple(name.format(shape=shape, value=value) for factor, name in NAMES.items() for value in FACTORS[factor])


CLASSES: tuple[str, ...] = tuple(name for shape in FACTORS["shape"] for name in _classes_of(shape))


def classify(labels: Mapping[str, Int64[np.ndarray, "n"]]) -> Int64[np.ndarray, "n 3"]:
    """Find the classes of every scene, numbers into `CLASSES`.

    Args:
        labels: the number of each factor's value, as `SceneDataset.labels` gives them.

    Returns:
        One for each of pattern, colour and location; the same number three times for a shape that is one class.
    """
    number = {name: i for i, name in enumerate(CLASSES)}
    table = {
        factor: np.array([[_number(number, shape, factor, v) for v in FACTORS[factor]] for shape in FACTORS["shape"]])
        for factor in NAMES
    }
    return np.stack([table[factor][labels["shape"], labels[factor]] for factor in NAMES], axis=1)


def _number(number: Mapping[str, int], shape: str, factor: str, value: str) -> int:
    return number[shape if shape in WHOLE else NAMES[factor].format(shape=shape, value=value)]
