"""Texts about the embedded world of drawn pictures, made from the factors of its generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from types import MappingProxyType

from vitdecomp.scenes import FACTORS
from vitdecomp.scenes.captions import COLOURS, NOUNS, PATTERNS, PLACES, SCENERY, SIZES, SPOTS, WITH
from vitdecomp_alignment.texts.grammar import with_articles

Phrases = Mapping[str, tuple[str, ...]]

# What is said of one factor: the words for its values, and the templates that take them.
ALONE: Mapping[str, tuple[tuple[Phrases, tuple[str, ...]], ...]] = MappingProxyType(
    {
        "shape": ((NOUNS, ("a {}", "a picture of a {}")),),
        "colour": ((COLOURS, ("something {}", "a {} thing")),),
        "pattern": ((PATTERNS, ("a {} thing",)), (WITH, ("something {}",))),
        "location": ((PLACES, ("something {}",)), (SCENERY, ("{}", "a picture of {}"))),
        "size": ((SIZES, ("a {} thing",)),),
        "position": ((SPOTS, ("something {}",)),),
    }
)
TOGETHER = "a {size} {pattern} {colour} {shape} {location} {position}"
_UNSAID = MappingProxyType(dict.fromkeys(FACTORS, "") | {"shape": "thing"})


def scene_texts() -> tuple[str, ...]:
    """Short descriptions of every value of every factor, and of every two values of two factors, each text once."""
    return tuple(dict.fromkeys(with_articles(text) for texts in (_alone(), _together()) for text in texts))


def _alone() -> Iterator[str]:
    """Every synonym of every value, in every template of its factor."""
    for factor, values in FACTORS.items():
        for (phrases, templates), value in product(ALONE[factor], values):
            spoken = filter(None, phrases[value])  # a plain thing may go without a word for it
            yield from (template.format(phrase) for phrase, template in product(spoken, templates))


def _together() -> Iterator[str]:
    """The first word for every value beside that of every other factor's values."""
    for one, other in combinations(FACTORS, 2):
        for value, second in product(FACTORS[one], FACTORS[other]):
            said = {one: _first(one, value), other: _first(other, second)}
            yield " ".join(TOGETHER.format(**{**_UNSAID, **said}).split())


def _first(factor: str, value: str) -> str:
    return ALONE[factor][0][0][value][0]
