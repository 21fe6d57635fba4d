"""Old names of arguments, which scripts of others still use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def renamed(**old: str) -> Callable[[F], F]:
    """Decorate a function to take keywords by their old names too, with a `DeprecationWarning`.

    Args:
        old: old names, and the new name of each.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            for name in [name for name in named if name in old]:
                if old[name] in named:
                    raise TypeError(f"{name} is the old name of {old[name]}: give only one of them")
                warnings.warn(f"{name}= is deprecated: use {old[name]}=", DeprecationWarning, stacklevel=2)
                named[old[name]] = named.pop(name)
            return function(*arguments, **named)

        return run  # type: ignore[return-value]

    return decorate
