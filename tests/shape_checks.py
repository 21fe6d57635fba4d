"""Shapes are checked in the first calls of each function in each test: what a loop does is the same again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial, update_wrapper, wraps
from types import CodeType, FunctionType
from typing import Any

import jaxtyping
from jaxtyping import jaxtyped

CALLS = 20
seen: Counter[CodeType] = Counter()
"""Calls of each function, to be cleared before each test."""
made: dict[CodeType, Callable[..., Any]] = {}
"""Checks of functions, by their code."""
called: ContextVar[FunctionType] = ContextVar("called")
"""The function whose arguments are checked now."""


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
        code = function.__code__
        if seen[code] >= CALLS:
            return function(*given, **named)
        seen[code] += 1
        if code not in made:
            made[code] = jaxtyped(_stand_in(function), typechecker=typechecker)
        token = called.set(function)
        try:
            return made[code](*given, **named)
        finally:
            called.reset(token)  # a check may ask for a property, which is checked too

    return call


def _stand_in(function: FunctionType) -> FunctionType:
    """Return a function that calls the one to be checked: many have the same code, with other variables around it.

    Annotations do not depend on those, and to make a check takes a millisecond. It is not kept in the function either:
    what that holds names cached paths.
    """
    found = called

    def call(*given: Any, **named: Any) -> Any:
        return found.get()(*given, **named)

    return update_wrapper(FunctionType(call.__code__, function.__globals__, closure=call.__closure__), function)
