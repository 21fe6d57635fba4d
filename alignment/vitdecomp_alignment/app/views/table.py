"""All views by their names."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Protocol

from vitdecomp._utils.progress import Stage
from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.schema import checked
from vitdecomp.errors import SpecError
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.app.views.component import ComponentView
from vitdecomp_alignment.app.views.cue import CueView
from vitdecomp_alignment.app.views.image import ImageView
from vitdecomp_alignment.app.views.maps import MapsView
from vitdecomp_alignment.app.views.model import ModelView
from vitdecomp_alignment.app.views.search import SearchView
from vitdecomp_alignment.app.views.tokens import TokensView


class View(Protocol):
    """A frozen request."""

    def answer(self, session: Session, stage: Stage) -> dict[str, Any]:
        """Compute what is shown, as plain values."""
        ...

    def commands(self, session: Session) -> list[str]:
        """Write command lines that reproduce it."""
        ...

    def python(self, session: Session) -> str:
        """Write Python that reproduces it."""
        ...


VIEWS: Mapping[str, type[View]] = {
    "model": ModelView,
    "component": ComponentView,
    "search": SearchView,
    "image": ImageView,
    "tokens": TokensView,
    "maps": MapsView,
    "cue": CueView,
}


def view_of(name: str, request: Any) -> View:
    """Read a request.

    Raises:
        SpecError: no such view. InputError: it does not fit the view.
    """
    if name not in VIEWS:
        raise SpecError(f"no view {name!r}{did_you_mean(name, list(VIEWS))}")
    view: View = checked(request, VIEWS[name], place=f"the request for {name}", remedy="reload the page")
    return view


def shown(view: View, session: Session, stage: Stage) -> dict[str, Any]:
    """Compute what is shown of a view, with what reproduces it."""
    answer = finite(view.answer(session, stage))
    return {"answer": answer, "command": "\n".join(view.commands(session)), "python": view.python(session)}


def finite(value: Any) -> Any:
    """Replace what JSON has no number for, NaN and infinity, by nothing."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
