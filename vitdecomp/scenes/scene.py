"""What a picture shows, before a pixel of it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from vitdecomp.scenes.captions import caption
from vitdecomp.scenes.dice import Dice, words
from vitdecomp.scenes.factors import FACTORS, SPLITS
from vitdecomp.scenes.subsets import SUBSETS, Spec

# Which of an image's first random words decide what: a change of one thing leaves the others as they are.
FACTOR_WORDS, COIN_WORDS, EXTRA_WORDS, CAPTION_WORDS = slice(0, 12), slice(12, 24), slice(24, 40), slice(40, 56)
SCENE_WORDS = 56

NAMED = ("shape", "shape", "shape", "colour", "location")  # what a word over the picture may name
SECOND, OCCLUDED = 0.25, 0.2  # probability of a second object, and of a bar across the first


@dataclass(frozen=True, slots=True)
class Second:
    """A smaller object beside the main one, of another shape, colour and pattern."""

    shape: str
    colour: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture in words: the value of every factor, what else is in it, its caption, and where it comes from.

    Args:
        group: 2 * class + side in subsets with groups, else None.
        word: what is written over the picture, if anything.
        occluded: whether a bar crosses the main object.
    """

    seed: int
    split: str
    index: int
    shape: str
    colour: str
    pattern: str
    location: str
    size: str
    position: str
    group: int | None
    second: Second | None
    occluded: bool
    word: str | None
    caption: str

    @property
    def values(self) -> dict[str, str]:
        """The value of every factor."""
        return {name: getattr(self, name) for name in FACTORS}


def scene_words(spec: Spec, index: int) -> tuple[Dice, Dice, Dice, Dice]:
    """Dice for the factors, for the correlations, for what else is in the picture, and for the caption."""
    block = words(spec.seed, SPLITS[spec.split], index, 0, count=SCENE_WORDS)
    return Dice(block[FACTOR_WORDS]), Dice(block[COIN_WORDS]), Dice(block[EXTRA_WORDS]), Dice(block[CAPTION_WORDS])


def draw_labels(spec: Spec, index: int) -> dict[str, int]:
    """Draw the number of every factor's value, and of the group if there are groups."""
    factors, coins, _, _ = scene_words(spec, index)
    values, group = spec.draw(factors, coins)
    labels = {name: choices.index(values[name]) for name, choices in FACTORS.items()}
    return labels if group is None else {**labels, "group": group}


def draw_scene(spec: Spec, index: int) -> Scene:
    """Draw the scene at an index, which depends on nothing but the spec and the index."""
    factors, coins, extra, talk = scene_words(spec, index)
    values, group = spec.draw(factors, coins)
    beside = {name: extra.other(FACTORS[name], values[name]) for name in ("shape", "colour", "pattern")}
    second = Second(**beside) if extra.chance(SECOND) else None
    return Scene(
        seed=spec.seed,
        split=spec.split,
        index=index,
        **values,
        group=group,
        second=second,
        occluded=extra.chance(OCCLUDED),
        word=_word(spec, values, extra),
        caption=caption(values, beside if second else None, talk),
    )


def _word(spec: Spec, values: dict[str, str], dice: Dice) -> str | None:
    """Choose the word over the image: a wrong shape in the typographic subset, else what the spec asks for."""
    named, written, right = dice.pick(NAMED), dice.chance(spec.word_probability), dice.chance(spec.word_truth)
    if SUBSETS[spec.subset].words:
        return dice.other(FACTORS["shape"], values["shape"])
    wrong = dice.other(FACTORS[named], values[named])
    return (values[named] if right else wrong) if written else None
