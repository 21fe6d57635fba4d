"""One component: its name, and the images that it responds to most and least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from vitdecomp._utils.progress import Stage
from vitdecomp._utils.schema import Within
from vitdecomp.component import Component
from vitdecomp.errors import InputError, SpecError
from vitdecomp.retrieval import Query, Scope
from vitdecomp_alignment.app import recipe
from vitdecomp_alignment.app.names import TEXTS, name_components
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.app.sizes import measured


@dataclass(frozen=True, slots=True)
class ComponentView:
    """Look at one component.

    Attributes:
        component: its name. text: along which images are ordered; by default the first text of its name.
        k: images at either end.
    """

    component: str
    text: str | None = None
    k: Annotated[int, Within(1, 48)] = 8

    def answer(self, session: Session, stage: Stage) -> dict[str, Any]:
        """Return its name, and the images at both ends of the order by cosine with the text.

        Raises:
            SpecError: no such component, or a constant.
        """
        component = session.component(self.component)
        if component.is_constant:
            raise SpecError(f"{component} is a constant: it is the same for every image")
        named = _named(session, component, stage)
        text = self.text or next((one["text"] for one in named["texts"]), None)
        if text is None:
            raise SpecError(
                f"{component} has no name ({named.get('why', 'nothing varies')}): give a text to order images along"
            )
        n = len(session.store)
        with stage("ordering images") as progress:
            scores, rows = session.retriever.nearest(
                [Query(text=text)], Scope(components=(_exactly(component.name),)), k=n, progress=progress
            )
        ordered = list(zip(rows[0].tolist(), scores[0].tolist(), strict=True))
        k = min(self.k, n)
        ends = rows[0][:k].tolist() + rows[0][-k:].tolist()
        names = dict(zip(ends, (name for name, _ in session.store.names(ends)), strict=True))
        norm, share = measured(session, stage)[component.name]
        return {
            "component": component.name,
            "kind": component.kind,
            "block": component.block,
            "norm": norm,
            "share": share,
            "names": named,
            "measured": len(session.sample(stage)),
            "text": text,
            "images": n,
            "most": [{"row": row, "score": score, "id": names[row]} for row, score in ordered[:k]],
            "least": [{"row": row, "score": score, "id": names[row]} for row, score in ordered[::-1][:k]],
        }

    def commands(self, session: Session) -> list[str]:
        """Write what prints its name, and the images that it responds to most."""
        only = f"--components={_exactly(self.component)}"
        text = self.text or self._first(session)
        features = recipe.repeated("--features", session.config.features)
        describe = recipe.command(session, "describe", only, f"--m={TEXTS}")
        return [
            recipe.shell_python(recipe.python(session, *self._naming)) if session.is_large else describe,
            recipe.command(session, "search", f"--text={text}", only, f"--k={self.k}", *features),
        ]

    def python(self, session: Session) -> str:
        """Write what prints the images at both ends."""
        text = self.text or self._first(session)
        only = f"text={text!r}, components=({_exactly(self.component)!r},)"
        return recipe.python(
            session,
            f"hits = session.retriever.search({only}, k=len(session.store))",
            f"for hit in (*hits[:{self.k}], *hits[-{self.k}:]):",
            "    print(hit)",
        )

    @property
    def _naming(self) -> tuple[str, ...]:
        """Lines of Python that print the name: a command reads all images of a large store."""
        return (
            "from vitdecomp._utils.progress import unseen",
            "from vitdecomp_alignment.app.names import name_components",
            "",
            f"component = session.component({self.component!r})",
            "print(name_components(session, [component], unseen))",
        )

    def _first(self, session: Session) -> str:
        known: dict[str, Any] = session.once("names", dict)
        texts = known.get(self.component, {"texts": ()})["texts"]
        return texts[0]["text"] if texts else ""


def _named(session: Session, component: Component, stage: Stage) -> dict[str, Any]:
    """Name a component; where that cannot be done, such as with few images, say why."""
    try:
        return name_components(session, [component], stage)[component.name]
    except InputError as error:
        return {"method": "none", "texts": [], "why": str(error)}


def _exactly(name: str) -> str:
    """Write a name as the pattern that matches nothing else."""
    return name.replace("[", "[[]")
