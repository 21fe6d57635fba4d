"""The demo's report as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from markupsafe import Markup, escape

from vitdecomp._utils.html import template
from vitdecomp.demo.figure import Cell, Number, Sentence

PACKAGE = "vitdecomp.demo"


def render(values: Mapping[str, Any]) -> str:
    """Render the page.

    Args:
        values: what the template asks for: `claim`, `sections` by name, `key`, `notes`, `facts`.
    """
    page = template(PACKAGE, "page.html.jinja", words=words)
    style = Markup(files(PACKAGE).joinpath("page.css").read_text(encoding="utf-8"))
    return page.render(values, style=style).lstrip()


def words(cell: Cell) -> Markup:
    """Write a sentence, a name or a figure; figures keep their full value."""
    if isinstance(cell, Sentence):
        return Markup("").join(words(part) for part in cell.parts())
    if isinstance(cell, Number):
        value = cell.to_json()
        return Markup("<data>{}</data>" if value is None else '<data value="{1}">{0}</data>').format(str(cell), value)
    return escape(cell)
