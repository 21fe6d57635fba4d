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
made: dict[CodeType, Callable[..., Any]] = {}
"""The functions with their checks."""


def install(modules: Iterable[str]) -> None:
    """Check modules that are not imported yet."""
    jaxtyping.jaxtyped = lambda *, typechecker: partial(decorated, typechecker)
    jaxtyping.install_import_hook([*modules], "beartype.beartype")


def decorated(typechecker: Callable[..., Any], function: Any) -> Any:
    """A function whose first calls are checked, or a class; the check itself is made when it is first needed."""
    if not isinstance(function, FunctionType):
        return jaxtyped(function, typechecker=typechecker)

    @wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        return _check(function, typechecker)(*given, **named)

    return call


def _check(function: FunctionType, typechecker: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function or its check, which is not kept in the function: what that holds names cached paths."""
    code = function.__code__
    if seen[code] >= CALLS:
        return function
    seen[code] += 1
    if function.__closure__:  # functions with the same code and other variables
        return jaxtyped(function, typechecker=typechecker)
    if code not in made:
        made[code] = jaxtyped(function, typechecker=typechecker)
    return made[code]
