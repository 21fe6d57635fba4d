"""Figures as they were computed and as they are written, and sentences with figures in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isnan
from string import Formatter
from types import MappingProxyType
from typing import Any, TypeAlias

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _power(value: float) -> str:
    """Write a small number, such as 4.2 · 10⁻⁷."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}·10{str(int(exponent)).translate(SUPERSCRIPTS)}" if value else "0"


FORMATS: Mapping[str, Callable[[float], str]] = MappingProxyType(
    {
        "count": "{:,.0f}".format,
        "percent": "{:.0%}".format,
        "points": lambda value: f"{100 * value:+.0f} points",
        "score": "{:.2f}".format,
        "signed": "{:+.2f}".format,
        "power": _power,
        "seconds": "{:.1f} s".format,
    }
)


@dataclass(frozen=True, slots=True)
class Number:
    """A figure as it was computed, and how it is written: a name in `FORMATS`."""

    value: float | int
    style: str = "score"

    def __str__(self) -> str:
        # A value that rounds to zero has no sign.
        if isnan(self.value):
            return "–"
        text = FORMATS[self.style](self.value)
        text = text if any(digit in text for digit in "123456789") else text.lstrip("+-")
        return text.replace("-", "−")

    def to_json(self) -> float | int | None:
        """Return the bare value; `None` where there is none."""
        if isnan(self.value):
            return None
        return int(self.value) if self.style == "count" else float(self.value)


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words with figures in them.

    Attributes:
        template: as for `str.format`. figures: what its fields stand for.
    """

    template: str
    figures: Mapping[str, Number | str] = field(default_factory=dict)

    def parts(self) -> Iterator[Number | str]:
        """Words and figures in the order of reading."""
        for words, name, _, _ in Formatter().parse(self.template):
            yield words
            if name is not None:
                yield self.figures[name]

    def __str__(self) -> str:
        return "".join(map(str, self.parts()))

    def to_json(self) -> dict[str, Any]:
        """Return the sentence, and its figures by name."""
        figures = {k: v.to_json() for k, v in self.figures.items() if isinstance(v, Number)}
        return {"text": str(self), "figures": figures}


Cell: TypeAlias = Number | Sentence | str
