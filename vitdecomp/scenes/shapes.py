"""The outlines: for each shape the signed distance (negative inside) of points in units of its radius."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from vitdecomp.scenes.grid import Plane

Outline = Callable[[Plane, Plane], Plane]

# Directions of a regular pentagon's and hexagon's sides; y points down.
PENTAGON = (
    (0.0, 1.0),
    (0.9510565162951535, 0.3090169943749474),
    (-0.9510565162951535, 0.3090169943749474),
    (0.5877852522924731, -0.8090169943749475),
    (-0.5877852522924731, -0.8090169943749475),
)
HALF_ROOT_2 = 0.7071067811865476
HALF_ROOT_3 = 0.8660254037844386


def _length(x: Plane, y: Plane) -> Plane:
    distance: Plane = np.sqrt(x * x + y * y)
    return distance


def _box(x: Plane, y: Plane, width: float, height: float) -> Plane:
    distance: Plane = np.maximum(np.abs(x) - width, np.abs(y) - height)
    return distance


def _circle(x: Plane, y: Plane) -> Plane:
    return _length(x, y) - 0.9


def _square(x: Plane, y: Plane) -> Plane:
    return _box(x, y, 0.78, 0.78)


def _triangle(x: Plane, y: Plane) -> Plane:
    distance: Plane = np.maximum(y - 0.76, np.abs(x) * HALF_ROOT_3 - (y - 0.76) * 0.5 - 0.8)
    return distance


def _star(x: Plane, y: Plane) -> Plane:
    """Inside a pentagram are the points that at most one side of the pentagon leaves out."""
    sides = [x * across + y * down - 0.4 for across, down in PENTAGON]
    first, second = np.maximum(sides[0], sides[1]), np.minimum(sides[0], sides[1])
    for side in sides[2:]:
        second = np.maximum(second, np.minimum(first, side))
        first = np.maximum(first, side)
    return second


def _cross(x: Plane, y: Plane) -> Plane:
    distance: Plane = np.minimum(_box(x, y, 0.9, 0.3), _box(x, y, 0.3, 0.9))
    return distance


def _ring(x: Plane, y: Plane) -> Plane:
    return np.abs(_length(x, y) - 0.68) - 0.27


def _heart(x: Plane, y: Plane) -> Plane:
    """Draw a square on its corner, with a half disc on each of its upper sides."""
    side, height, half = np.abs(x), y - 0.12, 0.39
    corner = (side + np.abs(height) - 2 * half) * HALF_ROOT_2
    distance: Plane = np.minimum(corner, _length(side - half, height + half) - 2 * half * HALF_ROOT_2)
    return distance


def _moon(x: Plane, y: Plane) -> Plane:
    return np.maximum(_length(x - 0.24, y) - 0.95, 0.84 - _length(x - 0.83, y + 0.09))


def _hexagon(x: Plane, y: Plane) -> Plane:
    side, height = np.abs(x), np.abs(y)
    distance: Plane = np.maximum(height - 0.8, side * HALF_ROOT_3 + height * 0.5 - 0.8)
    return distance


def _arrow(x: Plane, y: Plane) -> Plane:
    height = np.abs(y)
    head = np.maximum(-x, (x - 0.95) * 0.64 + height * 0.768)
    distance: Plane = np.minimum(head, _box(x + 0.45, y, 0.5, 0.33))
    return distance


OUTLINES: Mapping[str, Outline] = MappingProxyType(
    {
        "circle": _circle,
        "square": _square,
        "triangle": _triangle,
        "star": _star,
        "cross": _cross,
        "ring": _ring,
        "heart": _heart,
        "moon": _moon,
        "hexagon": _hexagon,
        "arrow": _arrow,
    }
)
