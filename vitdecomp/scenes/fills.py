"""What an object is filled with: two tones of its colour, in a pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from vitdecomp.scenes.dice import Dice
from vitdecomp.scenes.grid import Colour, Plane, Planes, along, flat, fraction, ramp, turned, wave

Rgb = tuple[int, int, int]

# Three shades between which the main tone is drawn, and a dark and a light tone to pair it with (0 .. 255).
COLOURS: Mapping[str, tuple[tuple[Rgb, Rgb, Rgb], tuple[Rgb, Rgb]]] = MappingProxyType(
    {
        "red": (((205, 25, 30), (228, 42, 38), (180, 14, 30)), ((96, 2, 14), (255, 142, 124))),
        "orange": (((245, 130, 20), (232, 112, 10), (255, 148, 45)), ((158, 66, 0), (255, 212, 150))),
        "yellow": (((250, 215, 30), (238, 202, 12), (255, 228, 80)), ((176, 132, 0), (255, 249, 196))),
        "green": (((40, 160, 55), (22, 132, 42), (88, 186, 56)), ((6, 72, 24), (168, 232, 140))),
        "cyan": (((30, 200, 212), (10, 178, 194), (92, 220, 226)), ((0, 100, 118), (200, 250, 248))),
        "blue": (((35, 72, 212), (22, 48, 176), (66, 108, 236)), ((8, 14, 88), (150, 190, 255))),
        "purple": (((126, 44, 178), (98, 30, 150), (152, 76, 204)), ((50, 6, 84), (214, 168, 244))),
        "pink": (((246, 124, 182), (255, 150, 202), (236, 96, 166)), ((168, 34, 104), (255, 218, 234))),
    }
)


def tones(colour: str, dice: Dice) -> tuple[Colour, Colour]:
    """Draw the main tone of a color, between its shades, and a dark or a light one beside it."""
    shades, partners = COLOURS[colour]
    weights = [dice.uniform(0.05, 1.0) for _ in shades]
    total = weights[0] + weights[1] + weights[2]
    partner, away = dice.pick(partners), dice.uniform(0.85, 1.1)
    main = [(weights[0] * a + weights[1] * b + weights[2] * c) / (255 * total) for a, b, c in zip(*shades, strict=True)]
    second = [one + away * (other / 255 - one) for one, other in zip(main, partner, strict=True)]
    return (main[0], main[1], main[2]), (second[0], second[1], second[2])


def _plain(u: Plane, v: Plane, sharp: float) -> Plane:
    return np.zeros_like(u)


def _striped(u: Plane, v: Plane, sharp: float) -> Plane:
    return ramp(wave(u) * sharp + 0.5)


def _spotted(u: Plane, v: Plane, sharp: float) -> Plane:
    """Discs in staggered rows."""
    row = np.floor(v)
    across = fraction(u + row * 0.5) - 0.5
    down = v - row - 0.5
    return ramp((0.33 - np.sqrt(across * across + down * down)) * (4 * sharp) + 0.5)


def _checkered(u: Plane, v: Plane, sharp: float) -> Plane:
    one = ramp(wave(u * 0.5) * (2 * sharp) + 0.5)
    other = ramp(wave(v * 0.5) * (2 * sharp) + 0.5)
    share: Plane = one + other - 2 * one * other
    return share


# The pattern, how many pixels its period has on an object of radius 0 and for each pixel of radius, and the tangent of
# half the angle that it is turned by: stripes run aslant, so that a few of their pixels tell them from the others.
PATTERNS: Mapping[str, tuple[Callable[[Plane, Plane, float], Plane], float, float, float]] = MappingProxyType(
    {
        "plain": (_plain, 6.0, 0.0, 0.0),
        "striped": (_striped, 4.2, 0.2, 0.41),
        "spotted": (_spotted, 4.0, 0.22, 0.0),
        "checkered": (_checkered, 3.2, 0.2, 0.0),
    }
)


def fill(colour: str, pattern: str, radius: float, center: tuple[float, float], dice: Dice) -> Planes:
    """Draw a surface as if it were everywhere; the object's outline is cut from it.

    Args:
        colour: a value of the factor.
        pattern: a value of the factor.
        radius: of the object, in pixels; larger objects have larger patterns.
        center: of the object, in pixels; a pattern always shows there.
        dice: draws tones, angle, scale, phase and shading, the same number whatever the values are.
    """
    main, second = tones(colour, dice)
    texture, base, slope, slant = PATTERNS[pattern]
    period = (base + slope * radius) * dice.uniform(0.88, 1.12)
    cosine, sine = turned(slant + dice.uniform(-0.13, 0.13))
    u = along(cosine / period, sine / period, *center) + dice.uniform()
    v = along(-sine / period, cosine / period, *center) + dice.uniform()
    share = texture(u, v, period * 0.3)
    if dice.chance(0.5) and pattern != "plain":
        share = 1 - share
    one = flat(main)
    surface = one + (flat(second) - one) * share
    cosine, sine = turned(dice.uniform(-1.0, 1.0))
    slope = dice.uniform(0.08, 0.16) / radius
    shaded: Planes = surface * (1 + along(cosine * slope, sine * slope, *center))
    return shaded
