"""A search: by words or an image, in one feature or by chosen components, beside the whole embedding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from vitdecomp._utils.progress import Stage
from vitdecomp._utils.schema import Within
from vitdecomp.errors import SpecError
from vitdecomp.retrieval import Hit, Query, Scope
from vitdecomp_alignment.app import recipe
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.cli.search.searches import SearchConfig, check, check_components, searched


@dataclass(frozen=True, slots=True)
class SearchView:
    """Search the images.

    Attributes:
        text: words. upload: an image that was dropped. row: an image that is there.
        negative: what hits should not be like. feature, components, without: as for `Scope`. k: images to find.
        beside: search in the whole embedding too, which takes longer the first time.
    """

    text: str | None = None
    upload: str | None = None
    row: Annotated[int, Within(0)] | None = None
    negative: str | None = None
    feature: str | None = None
    components: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    k: Annotated[int, Within(1, 96)] = 12
    beside: bool = True

    def answer(self, session: Session, stage: Stage) -> dict[str, Any]:
        """Return the hits, and those of the whole embedding where the scope is not that.

        Raises:
            SpecError: nothing to look for, or no such feature or component.
        """
        config = self._config(session)
        check(config, session.words)
        check_components(config, session.components)
        found = session.searchable(references=self.upload is not None)
        result = searched(found, session.retriever, session.options, config, stage)
        return {
            "images": result.images,
            "components": len(result.components),
            "hits": [_plain(hit) for hit in result.hits],
            "whole": [_plain(hit) for hit in result.whole],
            "left_out": [_plain(hit) for hit in result.left_out],
        }

    def commands(self, session: Session) -> list[str]:
        """Write what finds the same."""
        if self.row is not None:
            return [recipe.shell_python(self.python(session))]
        image = () if self.upload is None else (f"--image={session.uploads.of(self.upload).name}",)
        flags = {"--text": self.text, "--negative": self.negative, "--feature": self.feature, "--k": self.k}
        words = (
            *recipe.given(flags),
            *image,
            *recipe.repeated("--components", self.components),
            *recipe.repeated("--without", self.without),
            *recipe.repeated("--features", session.config.features),
        )
        return [recipe.command(session, "search", *words)]

    def python(self, session: Session) -> str:
        """Write what finds the same."""
        image = self.row if self.upload is None else session.uploads.of(self.upload).name
        named = {
            "text": self.text,
            "image": image,
            "negative": self.negative,
            "feature": self.feature,
            "components": self.components,
            "without": self.without,
            "k": self.k,
        }
        arguments = ", ".join(f"{name}={value!r}" for name, value in named.items() if value not in (None, ()))
        return recipe.python(session, f"for hit in session.retriever.search({arguments}):", "    print(hit)")

    def _config(self, session: Session) -> SearchConfig:
        images: list[int | Path] = [] if self.row is None else [self.row]
        if self.upload is not None:
            images.append(session.uploads.of(self.upload).path)
        texts = (self.text,) if self.text else ()
        if not texts and not images:
            raise SpecError("nothing to look for: type some words, or drop an image")
        query = Query(text=texts, image=tuple(images), negative=self.negative or None)
        scope = Scope(self.feature, self.components, self.without)
        k = min(self.k, len(session.store))
        return replace(SearchConfig(session.config.reading, query, scope), k=k, sheet=self.beside)


def _plain(hit: Hit) -> dict[str, Any]:
    return {"row": hit.row, "id": hit.id, "score": hit.score}
