"""How an object is printed: a heading and a few named values, none of them an array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

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


def kinds(components: Iterable[Any]) -> str:
    """Count components by kind, such as `36 attn, 12 mlp, 26 const`."""
    return ", ".join(f"{n} {kind}" for kind, n in Counter(c.kind for c in components).items())


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
