"""Public names of a package that are imported when they are first used, so that importing it costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazily(
    package: str, modules: Mapping[str, Sequence[str]], rooms: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: its `__name__`.
        modules: modules, and the public names that each of them defines. No name may also be a module of the
            package, which would take its place as soon as anything imports it.
        rooms: modules of the package that are attributes of it before anything imports them.
    """
    places = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name in rooms:
            return import_module(f"{package}.{name}")  # which makes it an attribute
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(places[name]), name)
        setattr(sys.modules[package], name, value)  # found without us from now on
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places, *rooms})

    return get, names
