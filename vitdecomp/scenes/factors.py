"""The independent factors of a picture, their values, and the parts that a data set is split into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError

SIDE = 64  # pixels, of a square picture

FACTORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "shape": ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon", "hexagon", "arrow"),
        "colour": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"),
        "pattern": ("plain", "striped", "spotted", "checkered"),
        "location": ("water", "forest", "sand", "brick", "night sky", "snow", "meadow"),
        "size": ("small", "medium", "large"),
        "position": (
            "top left",
            "top",
            "top right",
            "left",
            "middle",
            "right",
            "bottom left",
            "bottom",
            "bottom right",
        ),
    }
)

SPLITS: Mapping[str, int] = MappingProxyType({"train": 0, "val": 1, "test": 2})


def known(noun: str, name: str, names: Iterable[str]) -> str:
    """Return the name, if there is such a one.

    Raises:
        SpecError: there is none; the message names the nearest ones.
    """
    choices = list(names)
    if name not in choices:
        raise SpecError(f"no {noun} {name!r}{did_you_mean(str(name), choices)}")
    return name


def probability(noun: str, value: float) -> float:
    """Return the value, if it is a probability.

    Raises:
        SpecError: it is not between 0 and 1.
    """
    if not 0 <= value <= 1:
        raise SpecError(f"{noun} must be a probability between 0 and 1, not {value}")
    return float(value)
