"""`vitdecomp models`: list the models that can be loaded."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.cli.command import command
from vitdecomp.cli.options import ResultOptions
from vitdecomp.errors import SpecError


@command
def models(
    pattern: Annotated[str, Argument(help="Part of a spec, or a pattern such as 'timm:deit*'.")] = "*",
    *,
    result: ResultOptions,
) -> None:
    """List the models that can be loaded."""
    specs = list_models(pattern)
    result.show(specs, lambda console: console.print("\n".join(specs), soft_wrap=True))


def list_models(pattern: str = "*") -> list[str]:
    """List the specs of all models that match a pattern; one without wildcards matches any part of a name.

    Raises:
        SpecError: there are none.
    """
    from vitdecomp.models.adapter import adapters

    prefix, colon, name = pattern.partition(":")
    known = adapters()
    if not colon:
        known.warn_of_broken()
    chosen = [known[prefix]] if colon else list(known.values())
    name = name if colon else pattern
    wild = name if any(mark in name for mark in "*?[") else f"*{name}*"
    specs = [f"{adapter.prefix}:{found}" for adapter in chosen for found in adapter.names(wild)]
    if not specs:
        everything = [found for adapter in chosen for found in adapter.names()]
        raise SpecError(f"no model matches {pattern!r}{did_you_mean(name.strip('*'), everything)}")
    return specs
