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
TOLD = ("shape", "colour", "pattern", "location", "size")  # no model of that world learned positions well
TOGETHER = "a {size} {pattern} {colour} {shape} {location} {position}"
_UNSAID = MappingProxyType(dict.fromkeys(FACTORS, "") | {"shape": "thing"})


def scene_texts() -> tuple[str, ...]:
    """Short descriptions of every value of every factor, and of every two values of two factors, each text once."""
    return tuple(dict.fromkeys(with_articles(text) for texts in (_alone(), _together()) for text in texts))


def scene_values() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the texts for every value of every factor, by factor and value; one that goes without a word has none."""
    return {factor: {value: _said(factor, value) for value in values} for factor, values in FACTORS.items()}


def scene_features() -> dict[str, tuple[str, ...]]:
    """Return the first text for every value of each factor that CLIP learns to see, as features to score."""
    every = scene_values()
    return {factor: tuple(texts[0] for texts in every[factor].values()) for factor in TOLD}


def _alone() -> Iterator[str]:
    """Yield every synonym of every value, in every template of its factor."""
    for values in scene_values().values():
        for texts in values.values():
            yield from texts


def _said(factor: str, value: str) -> tuple[str, ...]:
    """Return each text once; a plain thing may go without a word for it."""
    texts = (
        with_articles(template.format(phrase))
        for phrases, templates in ALONE[factor]
        for phrase, template in product(filter(None, phrases[value]), templates)
    )
    return tuple(dict.fromkeys(texts))


def _together() -> Iterator[str]:
    """Yield the first word for every value beside that of every other factor's values."""
    for one, other in combinations(FACTORS, 2):
        for value, second in product(FACTORS[one], FACTORS[other]):
            said = {one: _first(one, value), other: _first(other, second)}
            yield " ".join(TOGETHER.format(**{**_UNSAID, **said}).split())


def _first(factor: str, value: str) -> str:
    return ALONE[factor][0][0][value][0]
