"""`vitdecomp models`: list the models that can be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from rich.markup import escape
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
    """List the models that can be loaded, with what is known of the smallest one of their family."""
    from vitdecomp.models.support import read_table

    rows = read_table()
    specs = list_models(pattern)
    width = max(map(len, specs))
    found = [{"model": spec, **_known(spec, rows)} for spec in specs]
    lines = [f"{one['model']:{width}}  {one['status']}" for one in found]
    result.show(found, lambda console: console.print("\n".join(map(escape, lines)), soft_wrap=True, highlight=False))


def _known(spec: str, rows: Mapping[str, Any]) -> dict[str, str | None]:
    """Return a model's family and its status in the support table."""
    from vitdecomp.models.adapter import adapters
    from vitdecomp.models.support import status

    prefix, _, name = spec.partition(":")
    family = adapters()[prefix].family(name)
    return {"family": family, "status": status(rows.get(f"{prefix}/{family}"))}


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
