"""As much English grammar as templates need: articles, and plurals."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A vowel sound: a vowel, unless it is spoken as in "unicorn" or "one", and some words that begin otherwise.
_BEFORE_VOWEL = re.compile(r"\ba (?=(?!uni(?![mn])|usual|use|uk|eu|one\b)[aeiou]|hour|honest|heir|x-ray)")
_PLURALS = (
    (re.compile(r"(s|x|z|ch|sh)$"), r"\1es"),
    (re.compile(r"([^aeiou])y$"), r"\1ies"),
    (re.compile(r"$"), "s"),
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word or a phrase that a format string can ask for in the plural: `{:many}`.

    Attributes:
        one: as it stands.
        many: its plural.
    """

    one: str
    many: str

    @classmethod
    def parse(cls, line: str) -> Word:
        """Parse one line of a list: `owl`, or `goose|geese` where the plural is not the usual one."""
        one, _, many = line.partition("|")
        return cls(one, many or plural(one))

    def __format__(self, form: str) -> str:
        return self.many if form == "many" else self.one


def plural(noun: str) -> str:
    """Form the usual plural of a noun."""
    return next(ending.sub(replacement, noun, count=1) for ending, replacement in _PLURALS if ending.search(noun))


def with_articles(text: str) -> str:
    """Write "an" for "a" wherever the next word begins with a vowel sound."""
    return _BEFORE_VOWEL.sub("an ", text)
