"""Makes the general pool: templates filled with the words of the lists."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import product
from string import Formatter

from vitdecomp_alignment.texts.grammar import Word, with_articles
from vitdecomp_alignment.texts.lines import PACKAGE, lines_of

SEED = 0
CAP = 28  # texts of one template that combines lists; a template with one slot takes every word of its list


def general_pool(seed: int = SEED, cap: int = CAP) -> tuple[str, ...]:
    """Return the texts of all templates, in their order, each text once.

    Args:
        seed: of the choice among too many combinations.
        cap: texts of one template that combines lists.
    """
    return tuple(dict.fromkeys(text for texts in texts_by_kind(seed, cap).values() for text in texts))


def texts_by_kind(seed: int = SEED, cap: int = CAP) -> Mapping[str, tuple[str, ...]]:
    """Return the texts of every kind of content; some texts are of two kinds."""
    lists = word_lists()
    return {
        kind: tuple(text for template in found for text in fill(template, lists, seed, cap))
        for kind, found in templates().items()
    }


def fill(template: str, lists: Mapping[str, Sequence[Word]], seed: int, cap: int) -> list[str]:
    """Write the sentences that a template makes, in the order of the lists, at most `cap` where lists are combined."""
    names = slots(template)
    combined = [
        words for words in product(*(lists[list_name(name)] for name in names)) if len(set(words)) == len(words)
    ]
    kept = range(len(combined)) if len(names) < 2 else sorted(_chosen(combined, f"{seed} {template}", cap))
    return [with_articles(template.format(**dict(zip(names, combined[i], strict=True)))) for i in kept]


def _chosen(combined: Sequence[tuple[Word, ...]], key: str, cap: int) -> list[int]:
    """Choose the combinations of least checksum: the same everywhere, and much the same when a list grows."""
    checksums = [hashlib.sha256("|".join([key, *(word.one for word in words)]).encode()).digest() for words in combined]
    return sorted(range(len(combined)), key=checksums.__getitem__)[:cap]


def slots(template: str) -> list[str]:
    """Return the names of a template's slots."""
    return [name for _, name, _, _ in Formatter().parse(template) if name]


def list_name(slot: str) -> str:
    """Return the list whose words a slot takes."""
    return slot.rstrip("0123456789")


def templates() -> Mapping[str, tuple[str, ...]]:
    """Read the templates by kind of content."""
    text = files(PACKAGE).joinpath("templates.txt").read_text(encoding="utf-8")
    _, *parts = re.split(r"^\[(.+)\]$", text, flags=re.MULTILINE)
    return {kind: lines_of(body) for kind, body in zip(parts[::2], parts[1::2], strict=True)}


def word_lists() -> Mapping[str, tuple[Word, ...]]:
    """Read the lists by name."""
    found = sorted(files(PACKAGE).joinpath("words").iterdir(), key=lambda place: place.name)
    return {
        place.name.removesuffix(".txt"): tuple(map(Word.parse, lines_of(place.read_text(encoding="utf-8"))))
        for place in found
    }
