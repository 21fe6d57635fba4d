"""What `vitdecomp models` does: the models that can be loaded."""

from __future__ import annotations

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError
from vitdecomp.models.adapter import adapters


def list_models(pattern: str = "*") -> list[str]:
    """Specs of all models that match a pattern; one without wildcards matches any part of a name.

    Raises:
        SpecError: there are none.
    """
    prefix, colon, name = pattern.partition(":")
    known = adapters()
    chosen = [known[prefix]] if colon else list(known.values())
    name = name if colon else pattern
    wild = name if any(mark in name for mark in "*?[") else f"*{name}*"
    specs = [f"{adapter.prefix}:{found}" for adapter in chosen for found in adapter.names(wild)]
    if not specs:
        everything = [found for adapter in chosen for found in adapter.names()]
        raise SpecError(f"no model matches {pattern!r}{did_you_mean(name.strip('*'), everything)}")
    return specs
