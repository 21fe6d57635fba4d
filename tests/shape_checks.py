"""Shapes are checked in the first calls of each function in each test: what a loop does is the same again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial, wraps
from types import CodeType, FunctionType
from typing import Any

import jaxtyping
from jaxtyping import jaxtyped

CALLS = 100
seen: Counter[CodeType] = Counter()
"""Calls of each function, to be cleared before each test."""


def install(modules: Iterable[str]) -> None:
    """Check modules that are not imported yet."""
    jaxtyping.jaxtyped = lambda *, typechecker: partial(decorated, typechecker)
    jaxtyping.install_import_hook([*modules], "beartype.beartype")


def decorated(typechecker: Callable[..., Any], function: Any) -> Any:
    """A function whose first calls are checked, or a class; the check itself is made when it is first needed."""
    if not isinstance(function, FunctionType):
        return jaxtyped(function, typechecker=typechecker)
    checked: Callable[..., Any] | None = None

    @wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        nonlocal checked
        if seen[function.__code__] >= CALLS:
            return function(*given, **named)
        seen[function.__code__] += 1
        if checked is None:
            checked = jaxtyped(function, typechecker=typechecker)
        return checked(*given, **named)

    return call
