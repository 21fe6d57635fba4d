"""A text for every value of the embedded world's factors that can be seen by a text, as features to score."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vitdecomp.scenes import FACTORS
from vitdecomp_alignment.texts.grammar import with_articles
from vitdecomp_alignment.texts.scene import ALONE

TOLD = ("shape", "colour", "pattern", "location", "size")  # no model of that world learned positions well


def scene_features() -> Mapping[str, tuple[str, ...]]:
    """The first phrase for every value of these factors, in the first template of its factor."""
    return MappingProxyType({factor: tuple(_said(factor)) for factor in TOLD})


def _said(factor: str) -> list[str]:
    phrases, templates = ALONE[factor][0]
    return [with_articles(templates[0].format(phrases[value][0])) for value in FACTORS[factor]]
