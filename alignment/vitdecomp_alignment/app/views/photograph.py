"""The image that a view is about: one that was dropped, or one of those that are looked into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from PIL import Image

from vitdecomp._utils.schema import Within
from vitdecomp.errors import SpecError
from vitdecomp_alignment.app.session import Session


@dataclass(frozen=True, slots=True)
class Photograph:
    """Name an image.

    Attributes:
        upload: id of one that was dropped. row: of one that is there.
    """

    upload: str | None = None
    row: Annotated[int, Within(0)] | None = None

    def open(self, session: Session) -> Image.Image:
        """Open it.

        Raises:
            SpecError: none is named. InputError: it cannot be read.
        """
        if self.upload is not None:
            return session.uploads.of(self.upload).image
        if self.row is None:
            raise SpecError("no image yet: drop one, or choose one")
        return session.image(self.row)

    def name(self, session: Session) -> str:
        """Return its name for people."""
        return session.uploads.of(self.upload).name if self.upload is not None else session.hit(self.row or 0).id

    def file(self, session: Session) -> str:
        """Return its file for a command: the name alone of one that was dropped, since a page knows no more."""
        if self.upload is not None:
            return session.uploads.of(self.upload).name
        hit = session.hit(self.row or 0)
        place = None if session.pictures is None else session.pictures.root / hit.id
        return str(place or hit.path or hit.id)
