"""Drawing a scene: background, second object, object, bar, word, light and noise, from the back to the front."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt64

from vitdecomp.scenes.dice import Dice, words
from vitdecomp.scenes.factors import FACTORS, SIDE, SPLITS
from vitdecomp.scenes.fills import fill
from vitdecomp.scenes.glyphs import write
from vitdecomp.scenes.grid import Image, Mask, Plane, Planes, along, flat, mix, ramp, shifted, turned
from vitdecomp.scenes.places import background
from vitdecomp.scenes.scene import OCCLUDED, Scene
from vitdecomp.scenes.shapes import OUTLINES

Words = UInt64[np.ndarray, "words"]
RADIUS = {"small": 12.0, "medium": 15.2, "large": 18.6}  # pixels
# Which of an image's random words decide what: a change of one layer leaves the others as they are.
LIGHT, OBJECT, FILL, BESIDE, BESIDE_FILL, BAR, WORD = (slice(32 * i, 32 * i + 32) for i in range(7))
CHANCE, PLACE, NOISE = slice(224, 256), slice(256, 1536), slice(1536, 1536 + 2 * 3 * SIDE * SIDE // 8)
FLEETING = (LIGHT, OBJECT, FILL, BAR, PLACE, NOISE)  # what is another at another moment
SPOTS = tuple((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y)


@dataclass(frozen=True, slots=True)
class Body:
    """Where an object is: its center and radius in pixels, and the signed distance from its outline."""

    x: float
    y: float
    radius: float
    distance: Plane


def draw(scene: Scene, moment: int = 0) -> tuple[Image, Mask]:
    """Draw a scene, and mask where its main object is visible.

    Args:
        scene: what to draw.
        moment: at another one a like object (its shape, colour and pattern) is seen elsewhere, nearer or farther away,
            in another shade and light, in front of another stretch of the same kind of place.
    """
    image, mask, _ = draw_both(scene, moment)
    return image, mask


def draw_both(scene: Scene, moment: int = 0) -> tuple[Image, Mask, Mask]:
    """Draw a scene as `draw` does, and mask its second object too; that mask is empty where there is none."""
    block = words(scene.seed, SPLITS[scene.split], scene.index, 1, count=NOISE.stop)
    if moment:
        scene, block = _later(scene, block, moment)
    picture = background(scene.location, Dice(block[PLACE]))
    behind = picture
    body = _place(scene, Dice(block[OBJECT]))
    seen = ramp(0.5 - body.distance)
    beside = np.zeros_like(seen)
    if scene.second is not None:
        other = _beside(scene.second.shape, body, Dice(block[BESIDE]))
        surface = (scene.second.colour, scene.second.pattern)
        picture = _put(picture, other, surface, Dice(block[BESIDE_FILL]))
        beside = ramp(0.5 - other.distance) * (1 - seen)
    picture = _put(picture, body, (scene.colour, scene.pattern), Dice(block[FILL]))
    if scene.occluded:
        picture, bar = _bar(picture, behind, body, Dice(block[BAR]))
        seen, beside = seen * (1 - bar), beside * (1 - bar)
    picture = _light(picture, Dice(block[LIGHT]))
    if scene.word is not None:
        picture, board = _word(picture, scene.word, body, Dice(block[WORD]))
        seen, beside = seen * (1 - board), beside * (1 - board)
    return _develop(picture, block), seen > 0.5, beside > 0.5


def _later(scene: Scene, block: Words, moment: int) -> tuple[Scene, Words]:
    """Return the scene and its random words at another moment."""
    now = words(scene.seed, SPLITS[scene.split], scene.index, 1 + moment, count=NOISE.stop)
    block = block.copy()
    for part in FLEETING:
        block[part] = now[part]
    dice = Dice(now[CHANCE])
    size, position = dice.pick(FACTORS["size"]), dice.pick(FACTORS["position"])
    return replace(scene, size=size, position=position, second=None, occluded=dice.chance(OCCLUDED)), block


def _body(shape: str, x: float, y: float, radius: float, dice: Dice) -> Body:
    """Put a shape at a place, turned and stretched a little."""
    cosine, sine = turned(dice.uniform(-0.17, 0.17))
    stretch = dice.uniform(0.93, 1.07)
    wide, high = radius * stretch, radius / stretch
    u = along(cosine / wide, sine / wide, x, y)
    v = along(-sine / high, cosine / high, x, y)
    return Body(x, y, radius, OUTLINES[shape](u, v) * radius)


def _place(scene: Scene, dice: Dice) -> Body:
    """Put the main object in its cell of the 3 x 3 grid."""
    radius = RADIUS[scene.size] * dice.uniform(0.95, 1.05)
    down, across = divmod(FACTORS["position"].index(scene.position), 3)
    away = [(step - 1) * (31.5 - radius) * dice.uniform(0.86, 1.0) for step in (across, down)]
    x, y = (32 + far + (0 if far else dice.uniform(-2.0, 2.0)) for far in away)
    return _body(scene.shape, x, y, radius, dice)


def _beside(shape: str, body: Body, dice: Dice) -> Body:
    """Put a smaller object at the edge of the image, clear of the main one."""
    radius = min(0.6 * body.radius, 9.0) * dice.uniform(0.95, 1.05)
    reach = 31.5 - radius
    far = [(32 + reach * x, 32 + reach * y) for x, y in SPOTS]
    clear = [at for at in far if (at[0] - body.x) ** 2 + (at[1] - body.y) ** 2 > (body.radius + radius) ** 2]
    x, y = dice.pick(clear)
    return _body(shape, x, y, radius, dice)


def _put(picture: Planes, body: Body, surface: tuple[str, str], dice: Dice) -> Planes:
    """Draw an object with its shadow on the background and a darker rim."""
    shadow = shifted(ramp(0.6 - body.distance / 4), 1, 2) * 0.52
    skin = fill(*surface, body.radius, (body.x, body.y), dice) * (1 - ramp(body.distance + 1.7) * 0.5)
    return mix(picture * (1 - shadow), skin, ramp(0.5 - body.distance))


def _bar(picture: Planes, behind: Planes, body: Body, dice: Dice) -> tuple[Planes, Plane]:
    """Draw a bar of the background's texture in front of the object, over at most a fifth of it."""
    cosine, sine = turned(dice.uniform(-1.0, 1.0))
    distance = np.abs(along(cosine, sine, body.x, body.y) - body.radius * dice.uniform(-0.45, 0.45))
    half = body.radius * dice.uniform(0.1, 0.14)
    inside = body.distance < 0
    while np.count_nonzero(inside & (distance < half)) * 5 > np.count_nonzero(inside):
        half *= 0.8
    bar = ramp(half + 0.5 - distance)
    stuff = np.roll(behind, (dice.below(SIDE), dice.below(SIDE)), axis=(1, 2))
    return mix(picture, stuff * (1.08 - ramp(distance - half + 1.6) * 0.4), bar), bar


def _word(picture: Planes, word: str, body: Body, dice: Dice) -> tuple[Planes, Plane]:
    """Write a word on a board or with an outline, where there is more room beside the object."""
    scale = 2 if len(word) <= 5 and dice.chance(0.5) else 1
    ink = write(word, scale)
    high, wide = ink.shape[0] + 4, ink.shape[1] + 4
    room = SIDE - high
    edge = dice.below(1 + room // 4)
    top, left = (room - edge if body.y < 32 else edge), dice.below(SIDE - wide + 1)
    letters = np.zeros((SIDE, SIDE), dtype=np.float32)
    letters[top + 2 : top + high - 2, left + 2 : left + wide - 2] = ink
    board = np.zeros_like(letters)
    board[top : top + high, left : left + wide] = 1
    if dice.chance(0.4):
        board = _thick(letters)
    paper, pen = dice.uniform(0.88, 1.0), dice.uniform(0.0, 0.15)
    if dice.chance(0.3):
        paper, pen = pen, paper
    return picture + (paper - picture) * board + (pen - paper) * letters, board


def _thick(letters: Plane) -> Plane:
    """Letters and the pixels around them."""
    sides = np.maximum(np.maximum(letters, np.roll(letters, 1, 0)), np.roll(letters, -1, 0))
    result: Plane = np.maximum(np.maximum(sides, np.roll(sides, 1, 1)), np.roll(sides, -1, 1))
    return result


def _light(picture: Planes, dice: Dice) -> Planes:
    """Add a light of some tint, brighter on one side."""
    bright = dice.uniform(0.8, 1.12)
    tint = flat((bright * dice.uniform(0.93, 1.07), bright, bright * dice.uniform(0.93, 1.07)))
    cosine, sine = turned(dice.uniform(-1.0, 1.0))
    slope = dice.uniform(-0.004, 0.004)
    result: Planes = picture * tint * (1 + along(cosine * slope, sine * slope, 32.0, 32.0))
    return result


def _develop(picture: Planes, block: Words) -> Image:
    """Bytes from a picture and noise, which is the sum of two random bytes for each value."""
    pairs = block[NOISE].astype("<u8", copy=False).view(np.uint8).reshape(2, 3, SIDE, SIDE)
    noise = pairs[0].astype(np.float32) + pairs[1].astype(np.float32)
    amount = Dice(block[LIGHT.stop - 1 : LIGHT.stop]).uniform(0.02, 0.07)
    bytes_ = np.floor(picture * 255 + (noise - 255) * amount + 0.5)
    cut = np.minimum(np.maximum(bytes_, np.float32(0)), np.float32(255)).astype(np.uint8)
    return np.ascontiguousarray(cut.transpose(1, 2, 0))
