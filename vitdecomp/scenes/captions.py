"""Sentences about a scene: templates, and synonyms of every value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from vitdecomp.scenes.dice import Dice

NOUNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "circle": ("circle", "circle", "disc"),
        "square": ("square", "square", "box"),
        "triangle": ("triangle",),
        "star": ("star",),
        "cross": ("cross",),
        "ring": ("ring", "ring", "hoop"),
        "heart": ("heart",),
        "moon": ("moon", "crescent"),
        "hexagon": ("hexagon",),
        "arrow": ("arrow",),
    }
)
COLOURS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "red": ("red", "red", "crimson", "scarlet"),
        "orange": ("orange", "orange", "tangerine"),
        "yellow": ("yellow", "yellow", "golden"),
        "green": ("green", "green", "emerald"),
        "cyan": ("cyan", "cyan", "turquoise"),
        "blue": ("blue", "blue", "cobalt"),
        "purple": ("purple", "purple", "violet"),
        "pink": ("pink", "pink", "rosy"),
    }
)
PATTERNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "plain": ("plain", "solid", ""),
        "striped": ("striped", "stripy"),
        "spotted": ("spotted", "dotted"),
        "checkered": ("checkered", "checked"),
    }
)
WITH: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "plain": ("of one colour", ""),
        "striped": ("with stripes", "with bold stripes"),
        "spotted": ("with spots", "with dots"),
        "checkered": ("with checks", "with a checkerboard"),
    }
)
PLACES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "water": ("on water", "on the sea", "over the ocean", "floating on waves"),
        "forest": ("in a forest", "in the woods", "among trees"),
        "sand": ("on sand", "in the desert", "on a beach"),
        "brick": ("on a brick wall", "in front of bricks"),
        "night sky": ("in the night sky", "at night", "under a starry sky"),
        "snow": ("in the snow", "in a snowy landscape", "in winter"),
        "meadow": ("in a meadow", "on grass", "in a field"),
    }
)
SCENERY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "water": ("water", "ocean", "sea"),
        "forest": ("forest", "trees", "woods"),
        "sand": ("sand", "desert", "beach"),
        "brick": ("bricks", "a brick wall"),
        "night sky": ("night sky", "starry sky"),
        "snow": ("snow", "a snowy landscape"),
        "meadow": ("grass", "a meadow"),
    }
)
SIZES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "small": ("small", "small", "little", "tiny"),
        "medium": ("medium", "medium", "middling"),
        "large": ("large", "big", "huge"),
    }
)
SPOTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "top left": ("at the top left", "in the upper left corner"),
        "top": ("at the top", "high up"),
        "top right": ("at the top right", "in the upper right corner"),
        "left": ("on the left",),
        "middle": ("in the middle", "in the centre"),
        "right": ("on the right",),
        "bottom left": ("at the bottom left", "in the lower left corner"),
        "bottom": ("at the bottom", "low down"),
        "bottom right": ("at the bottom right", "in the lower right corner"),
    }
)
TEMPLATES = (
    "a {size} {pattern} {colour} {shape} {place}",
    "a {size} {colour} {shape} {with_} {place}",
    "{pattern} {colour} {shape}, {scenery} behind it",
    "a {pattern} {colour} {shape} {place}",
    "a {colour} {shape} {with_} {place}, {spot}",
    "a picture of a {pattern} {colour} {shape} {place}",
    "{spot}, a {size} {pattern} {colour} {shape} {place}",
    "a {size} {pattern} {colour} {shape} {spot}, {scenery} in the background",
    "the {colour} {shape} {with_}, {place}",
    "a photo of a {size} {colour} {shape} {place}",
    "{scenery} and a {pattern} {colour} {shape} {spot}",
    "this is a {colour} {shape} {with_}, {scenery} behind it",
    "a {colour} {shape} {place}",
    "there is a {pattern} {colour} {shape} {place}",
    "a {pattern} {colour} {shape}, {size}, {spot}",
)
# Some people say but one thing about a picture; without such captions a model would not know what a lone word means.
BRIEF = (
    "a {shape}",
    "a {shape}",
    "a picture of a {shape}",
    "something {colour}",
    "a {colour} thing",
    "a {colour} {shape}",
    "{scenery}",
    "{scenery}",
    "something {place}",
    "a picture of {scenery}",
    "a {pattern} thing",
    "something {with_}",
    "a {pattern} {shape}",
)
BRIEFLY = 0.25  # probability
SECONDS = (", next to a smaller {colour} {shape}", ", with a smaller {colour} {shape} nearby")


def caption(values: Mapping[str, str], second: Mapping[str, str] | None, dice: Dice) -> str:
    """Write a sentence in lower case that names the shape, the color and mostly the location, or one of these alone.

    Args:
        values: of every factor.
        second: shape and colour of the second object, which half of the captions mention; None without one.
        dice: draws the template and the synonyms, the same number whatever the values are.
    """
    full, brief, briefly = dice.pick(TEMPLATES), dice.pick(BRIEF), dice.chance(BRIEFLY)
    template = brief if briefly else full
    text = template.format(
        shape=dice.pick(NOUNS[values["shape"]]),
        colour=dice.pick(COLOURS[values["colour"]]),
        pattern=dice.pick(PATTERNS[values["pattern"]]),
        with_=dice.pick(WITH[values["pattern"]]),
        place=dice.pick(PLACES[values["location"]]),
        scenery=dice.pick(SCENERY[values["location"]]),
        size=dice.pick(SIZES[values["size"]]),
        spot=dice.pick(SPOTS[values["position"]]),
    )
    ending = dice.pick(SECONDS)
    if dice.chance(0.5) and second is not None and not briefly:
        text += ending.format(shape=second["shape"], colour=second["colour"])
    text = re.sub(r" +(?=,|$)", "", re.sub(r" {2,}", " ", text)).strip()
    return re.sub(r"\ba (?=[aeiou])", "an ", text)
