"""The backgrounds: for each location a texture, and schemes of colours that overlap with other locations'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from vitdecomp.scenes.dice import Dice
from vitdecomp.scenes.factors import SIDE
from vitdecomp.scenes.grid import (
    Plane,
    Planes,
    along,
    cloudy,
    columns,
    flat,
    fraction,
    mix,
    ramp,
    rows,
    smooth,
    turned,
    wave,
)

Rgb = tuple[int, int, int]
Texture = Callable[[Dice], tuple[Plane, Plane]]  # tone from dark to light, and share of the accent's colour

STAR = ((0, 0, 1.0), (0, 1, 0.4), (1, 0, 0.4), (0, -1, 0.4), (-1, 0, 0.4))
FLAKE = (*((y, x, 0.8) for y in (0, 1) for x in (0, 1)), (0, -1, 0.3), (-1, 0, 0.3), (1, 2, 0.3), (2, 1, 0.3))
POINT = ((0, 0, 0.9),)
FLOWER = ((0, 1, 1.0), (1, 0, 1.0), (0, -1, 1.0), (-1, 0, 1.0), (0, 0, 0.35))


def _scatter(onto: Plane, dice: Dice, count: int, stamp: tuple[tuple[int, int, float], ...]) -> None:
    """Stamp small marks at random places, in place."""
    spots = np.array(dice.integers(count, SIDE * SIDE))
    down, across = spots // SIDE, spots % SIDE
    for y, x, share in stamp:
        np.maximum.at(onto, ((down + y) % SIDE, (across + x) % SIDE), np.float32(share))


def _water(dice: Dice) -> tuple[Plane, Plane]:
    """Waves across the picture, wider towards the bottom, with glints."""
    swell = cloudy(dice)
    far = 900 / (rows() + dice.uniform(34.0, 46.0))
    phase = dice.uniform() + wave(columns() * dice.uniform(0.03, 0.05) + dice.uniform()) * 0.22
    crest = wave(far * dice.uniform(0.5, 0.62) + swell * 1.5 + phase)
    tone = 0.42 + crest * 0.22 + (swell - 0.5) * 0.4
    return tone, ramp((crest - 0.72) * 3.2) * ramp((smooth(dice, 16, 8) - 0.42) * 5)


def _forest(dice: Dice) -> tuple[Plane, Plane]:
    """Three rows of firs, the nearer the darker."""
    mist = cloudy(dice)
    tone = 0.82 + (mist - 0.5) * 0.25 + np.zeros_like(mist)
    for horizon, shade in ((-4.0, 0.62), (14.0, 0.4), (32.0, 0.16)):
        period = dice.uniform(13.0, 18.0)
        at = columns() / period + dice.uniform()
        tops = np.array([dice.uniform(-7.0, 9.0) for _ in range(8)], dtype=np.float32)
        height = rows() - horizon - tops[np.floor(at).astype(np.int64) % 8]
        width = height * 0.2 + fraction(height / 8) * 3.4 - 0.6
        tree = ramp(width - np.abs(fraction(at) - 0.5) * period + 0.5) * ramp(height)
        tone = tone + (shade + (mist - 0.5) * 0.3 - tone) * tree
    return tone, np.zeros_like(tone)


def _sand(dice: Dice) -> tuple[Plane, Plane]:
    """Dunes with fine slanting ripples, and grains."""
    dune = cloudy(dice)
    cosine, sine = turned(dice.uniform(0.25, 0.5) * dice.pick((-1, 1)))
    period = dice.uniform(5.0, 6.5)
    ripple = fraction(along(sine / period, cosine / period) + dune * 2.2 + dice.uniform())
    tone = 0.42 + (dune - 0.5) * 0.8 + ripple * 0.24
    grains = np.zeros_like(tone)
    _scatter(grains, dice, 150, POINT)
    return tone, grains * 0.75


def _brick(dice: Dice) -> tuple[Plane, Plane]:
    """Courses of bricks, each brick of its own tone, in mortar."""
    high, wide = dice.uniform(7.0, 9.0), dice.uniform(14.0, 18.0)
    y = rows() / high + dice.uniform()
    course = np.floor(y)
    x = columns() / wide + course * 0.5 + dice.uniform()
    number = (course * 7 + np.floor(x) * 3).astype(np.int64) % 32
    shades = np.array([dice.uniform(0.2, 0.72) for _ in range(32)], dtype=np.float32)
    tone = shades[number] + (cloudy(dice) - 0.5) * 0.45
    edge = np.minimum(
        (0.5 - np.abs(fraction(x) - 0.5)) * wide, (0.5 - np.abs(fraction(y) - 0.5)) * high + np.zeros_like(tone)
    )
    return tone, ramp(1.25 - edge)


def _night(dice: Dice) -> tuple[Plane, Plane]:
    """Draw a sky that is lighter towards the bottom, with a band of haze and stars."""
    haze = cloudy(dice)
    cosine, sine = turned(dice.uniform(-1.0, 1.0))
    band = ramp(1 - np.abs(along(cosine, sine, 32.0, 32.0) + (haze - 0.5) * 30) * 0.05)
    tone = rows() * 0.004 + band * haze * 0.75
    stars = np.zeros_like(tone)
    _scatter(stars, dice, 46, POINT)
    _scatter(stars, dice, 13, STAR)
    return tone, stars


def _snow(dice: Dice) -> tuple[Plane, Plane]:
    """Drifts under a pale sky, and flakes."""
    soft = cloudy(dice)
    tone = 0.28 + rows() * 0.002 + (soft - 0.5) * 0.25
    for horizon in (24.0, 38.0, 52.0):
        hill = wave(columns() / dice.uniform(44.0, 70.0) + dice.uniform()) * dice.uniform(3.0, 6.0)
        depth = rows() - horizon - hill - soft * 5
        tone = tone + (0.98 - depth * 0.024 + (soft - 0.5) * 0.2 - tone) * ramp(depth + 0.5)
    flakes = np.zeros_like(tone)
    _scatter(flakes, dice, 26, FLAKE)
    return tone, flakes


def _meadow(dice: Dice) -> tuple[Plane, Plane]:
    """Blades of grass, longer towards the bottom, and small flowers."""
    tone = 0.22 + (cloudy(dice) - 0.5) * 0.4 + smooth(dice, 3, 32) * 0.25
    for period, slant in ((4.3, 0.22), (5.6, -0.3)):
        lean = columns() + rows() * slant + smooth(dice, 4, 8) * 5
        blade = wave(lean / period) - fraction(rows() / 13 + np.floor(lean / period) * 0.377) * 1.5
        tone = tone + ramp(blade * 1.6 + 0.35) * 0.36
    flowers = np.zeros_like(tone)
    _scatter(flowers, dice, 13, FLOWER)
    return tone, flowers


# For each location its texture, and schemes: the dark, the middle and the light of its tones, and the accent.
PLACES: Mapping[str, tuple[Texture, tuple[tuple[Rgb, Rgb, Rgb, Rgb], ...]]] = MappingProxyType(
    {
        "water": (
            _water,
            (
                ((14, 52, 98), (40, 108, 156), (116, 176, 208), (226, 244, 250)),
                ((16, 72, 76), (52, 132, 128), (136, 196, 180), (228, 248, 236)),
                ((52, 62, 84), (104, 118, 138), (168, 180, 192), (238, 240, 240)),
                ((58, 48, 92), (140, 96, 118), (228, 164, 132), (255, 226, 176)),
                ((96, 74, 40), (168, 134, 82), (222, 192, 136), (255, 240, 200)),
                ((20, 60, 40), (58, 110, 70), (140, 186, 140), (226, 244, 226)),
                ((12, 18, 52), (34, 46, 96), (92, 108, 164), (214, 222, 250)),
                ((96, 116, 146), (150, 170, 194), (208, 220, 232), (250, 252, 255)),
            ),
        ),
        "forest": (
            _forest,
            (
                ((16, 42, 30), (58, 104, 66), (176, 200, 172), (255, 255, 255)),
                ((20, 38, 52), (66, 100, 116), (188, 204, 214), (255, 255, 255)),
                ((52, 34, 20), (150, 98, 46), (226, 196, 140), (255, 255, 255)),
                ((36, 28, 52), (106, 84, 112), (236, 178, 160), (255, 255, 255)),
                ((34, 38, 46), (104, 112, 122), (196, 200, 206), (255, 255, 255)),
                ((10, 16, 44), (34, 46, 92), (92, 108, 156), (255, 255, 255)),
                ((14, 52, 72), (48, 110, 134), (156, 200, 212), (255, 255, 255)),
                ((104, 118, 132), (164, 176, 188), (232, 236, 240), (255, 255, 255)),
            ),
        ),
        "sand": (
            _sand,
            (
                ((150, 112, 66), (208, 172, 116), (240, 216, 168), (116, 84, 50)),
                ((128, 88, 66), (190, 138, 104), (228, 186, 150), (92, 58, 46)),
                ((112, 104, 92), (172, 164, 148), (216, 210, 196), (78, 72, 64)),
                ((148, 112, 104), (206, 170, 158), (236, 212, 200), (104, 74, 70)),
                ((36, 42, 84), (74, 84, 132), (124, 134, 178), (18, 22, 54)),
                ((92, 70, 40), (140, 112, 68), (184, 154, 104), (56, 42, 26)),
                ((92, 92, 60), (146, 144, 98), (196, 190, 138), (60, 58, 36)),
                ((170, 164, 160), (214, 208, 202), (242, 238, 232), (124, 118, 114)),
            ),
        ),
        "brick": (
            _brick,
            (
                ((96, 40, 32), (156, 74, 56), (200, 124, 100), (208, 196, 180)),
                ((112, 84, 58), (172, 138, 100), (216, 188, 150), (106, 92, 80)),
                ((70, 74, 82), (122, 126, 134), (172, 176, 182), (206, 204, 198)),
                ((52, 42, 58), (92, 76, 92), (140, 118, 128), (168, 160, 164)),
                ((30, 36, 76), (58, 68, 120), (102, 112, 164), (140, 150, 190)),
                ((150, 142, 134), (204, 198, 190), (238, 234, 228), (146, 138, 132)),
                ((46, 76, 58), (88, 124, 98), (142, 172, 142), (180, 192, 172)),
                ((40, 78, 98), (78, 122, 142), (136, 174, 188), (190, 204, 208)),
            ),
        ),
        "night sky": (
            _night,
            (
                ((10, 14, 40), (44, 54, 110), (112, 120, 180), (255, 252, 232)),
                ((22, 12, 42), (74, 44, 104), (150, 104, 160), (255, 246, 236)),
                ((8, 24, 36), (28, 72, 88), (92, 140, 146), (246, 255, 250)),
                ((18, 18, 24), (60, 62, 76), (128, 126, 136), (255, 255, 255)),
                ((30, 26, 18), (92, 72, 46), (160, 130, 92), (255, 250, 228)),
                ((40, 22, 40), (112, 66, 84), (196, 128, 116), (255, 244, 230)),
                ((12, 32, 24), (40, 86, 66), (110, 160, 124), (246, 255, 246)),
            ),
        ),
        "snow": (
            _snow,
            (
                ((126, 152, 188), (186, 206, 226), (242, 246, 250), (255, 255, 255)),
                ((128, 132, 142), (184, 190, 198), (240, 242, 244), (255, 255, 255)),
                ((160, 128, 150), (214, 188, 198), (250, 238, 234), (255, 255, 255)),
                ((62, 76, 122), (122, 140, 184), (204, 214, 234), (250, 252, 255)),
                ((28, 34, 72), (64, 76, 124), (122, 136, 184), (226, 232, 250)),
                ((70, 90, 98), (112, 134, 140), (176, 194, 196), (246, 250, 250)),
                ((142, 122, 122), (192, 168, 158), (244, 228, 212), (255, 252, 246)),
                ((76, 72, 84), (120, 116, 126), (178, 174, 182), (248, 248, 250)),
            ),
        ),
        "meadow": (
            _meadow,
            (
                ((26, 74, 24), (76, 136, 46), (160, 200, 92), (250, 250, 240)),
                ((72, 84, 28), (142, 148, 62), (214, 208, 124), (255, 250, 236)),
                ((20, 66, 48), (58, 124, 84), (140, 190, 140), (250, 222, 120)),
                ((88, 68, 34), (164, 134, 74), (226, 202, 140), (250, 246, 246)),
                ((14, 22, 54), (38, 52, 98), (92, 110, 156), (226, 230, 250)),
                ((20, 66, 84), (52, 116, 140), (136, 188, 200), (246, 250, 250)),
                ((60, 50, 70), (112, 94, 118), (178, 152, 160), (252, 236, 240)),
                ((112, 116, 108), (166, 170, 158), (222, 224, 210), (252, 252, 250)),
            ),
        ),
    }
)


def background(location: str, dice: Dice) -> Planes:
    """Draw a location, with nothing in it."""
    texture, schemes = PLACES[location]
    dark, middle, light, accent = (flat((r / 255, g / 255, b / 255)) for r, g, b in dice.pick(schemes))
    tone, marks = texture(dice)
    picture = dark + (middle - dark) * ramp(tone * 2) + (light - middle) * ramp(tone * 2 - 1)
    return mix(picture, accent + np.zeros_like(picture), marks)
