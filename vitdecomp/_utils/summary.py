"""How an object is printed: a heading and a few named values, none of them an array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

FEW = 3  # values that are printed of many
LONGEST = 100  # characters of a value


def summary(heading: str, values: Mapping[str, Any]) -> str:
    """Set out a heading and named values, one a line; `None` is left out and a long value cut.

    Args:
        heading: what the object is, in one line.
        values: by name, in order.
    """
    shown = {name: " ".join(str(value).split()) for name, value in values.items() if value is not None}
    width = max(map(len, shown), default=0)
    return "\n".join([heading, *(f"  {name:<{width}}  {_cut(value)}" for name, value in shown.items())])


class Brief:
    """A data class, declared with `repr=False`, that prints arrays by their shapes, and the first of many values."""

    __slots__ = ()

    def __repr__(self) -> str:
        told = (f"{field.name}={brief(getattr(self, field.name))}" for field in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(told)})"


def brief(value: Any) -> str:
    """Print a value in one line of no great length."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"<{type(value).__name__} {tuple(shape)}>"
    if isinstance(value, tuple | list) and len(value) > FEW:
        return f"<{len(value)} values: {', '.join(map(brief, value[:FEW]))}, ...>"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(brief, value))})"
    return _cut(" ".join((repr if isinstance(value, str) else str)(value).split()))


def kinds(components: Iterable[Any]) -> str:
    """Count components by kind, such as `36 attn, 12 mlp, 26 const`."""
    return ", ".join(f"{n} {kind}" for kind, n in Counter(c.kind for c in components).items())


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
