"""Heatmaps over images: where a text is seen, by any method, in all components or in some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from PIL import Image

from vitdecomp._utils.progress import Stage
from vitdecomp._utils.schema import Within
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps import explain_each
from vitdecomp.heatmaps.sheet import SheetBatch
from vitdecomp_alignment.app import recipe
from vitdecomp_alignment.app.pictures import as_uri
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.app.views.photograph import Photograph

MOST = 24  # images at a time


@dataclass(frozen=True, slots=True)
class MapsView:
    """Make maps.

    Attributes:
        texts: what is looked for. upload, rows: over which images. methods: by which.
        components: names or patterns; by default all. minus: a text that is subtracted from each.
    """

    texts: tuple[str, ...]
    upload: str | None = None
    rows: tuple[Annotated[int, Within(0)], ...] = ()
    methods: tuple[str, ...] = ("decompose",)
    components: tuple[str, ...] = ()
    minus: str | None = None

    def answer(self, session: Session, stage: Stage) -> dict[str, Any]:
        """Return a picture for each image, method and text.

        Raises:
            SpecError: no text, no such method, or one that has no meaning here.
        """
        if not self.texts or not all(self.texts):
            raise SpecError("no text: say what is looked for")
        places = self._places()
        if not 1 <= len(places) <= MOST:
            raise SpecError(f"{len(places)} images: give 1 to {MOST}")
        images: list[Image.Image] = [place.open(session) for place in places]
        asked = [text if not self.minus else (text, self.minus) for text in self.texts]
        with stage("tracing"):
            decomposer, batch = session.decomposer, session.subject.batch(images)
        with stage("heatmaps"):
            maps = explain_each(
                decomposer,
                batch,
                asked,
                self.methods,
                components=self.components or None,
                aligner=session.found.aligner,
                encode_text=session.space,
            )
        rows = SheetBatch([place.name(session) for place in places], images, maps).rows()
        return {
            "images": [
                {
                    "row": place.row,
                    "name": name,
                    "picture": as_uri(picture),
                    "maps": [
                        {
                            "method": one.method,
                            "text": one.label,
                            "picture": as_uri(one.picture),
                            "caption": dict(one.caption),
                            "low": one.palette.low,
                            "high": one.palette.high,
                            "stops": one.palette.stops(),
                        }
                        for one in panels
                    ],
                }
                for place, (name, picture, panels) in zip(places, rows, strict=True)
            ]
        }

    def commands(self, session: Session) -> list[str]:
        """Write what makes the same maps, one command for each image."""
        words = (
            *recipe.repeated("--text", self.texts),
            *recipe.given({"--minus": self.minus or None}),
            *recipe.repeated("--method", self.methods),
            *recipe.repeated("--components", self.components),
        )
        return [
            recipe.command(session, "explain", *words, f"--out=maps-{i}", images=place.file(session))
            for i, place in enumerate(self._places())
        ]

    def python(self, session: Session) -> str:
        """Write what makes the same maps."""
        files = [place.file(session) for place in self._places()]
        asked = [text if not self.minus else (text, self.minus) for text in self.texts]
        return recipe.python(
            session,
            "import vitdecomp as vd",
            "from pathlib import Path",
            "from vitdecomp.images.opening import open_image",
            "",
            f"images = [open_image(Path(file)) for file in {files!r}]",
            f"for method in {self.methods!r}:",
            "    maps = vd.explain(",
            f"        session.decomposer, session.subject.batch(images), {asked!r}, method,",
            f"        components={self.components or None!r},",
            "        aligner=session.found.aligner, encode_text=session.space,",
            "    )",
            '    maps.plot(images).savefig(f"maps-{method}.png")',
        )

    def _places(self) -> list[Photograph]:
        if self.upload is not None:
            return [Photograph(upload=self.upload)]
        return [Photograph(row=row) for row in self.rows]
