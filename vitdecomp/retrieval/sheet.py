"""Sheets: what was found, as one picture or as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

from PIL import Image, ImageDraw, ImageFont, ImageOps

from vitdecomp._utils.console import printable
from vitdecomp._utils.files import atomic, check_file
from vitdecomp._utils.html import image_uri, template
from vitdecomp.errors import SpecError
from vitdecomp.retrieval.hit import Hit
from vitdecomp.retrieval.hit_images import SIDE, HitImages, InFolders, Thumbnail, shrunk, thumbnail_of

MARGIN, LINE = 8, 14  # pixels
COLUMNS = 5
LONGEST = 200  # characters of a line in a picture
PAPER, INK, EMPTY, FAINT = "#ffffff", "#202020", "#e8e8e8", "#606060"
WHOLE = "The same search in the whole embedding"


@dataclass(frozen=True, slots=True)
class Sheet:
    """What was looked for, and what was found.

    Attributes:
        title: of the page. asked: what was looked for, in words.
        references: images that were looked for. hits: what was found, the best first.
        whole: what is found in the whole embedding, if `hits` are not.
        images: where the images of hits are taken from; by default from nowhere.
        notes: what else is to be said.
    """

    title: str
    asked: str
    references: Sequence[Image.Image]
    hits: Sequence[Hit]
    whole: Sequence[Hit] = ()
    images: HitImages = field(default_factory=InFolders)
    notes: Sequence[str] = ()

    def parts(self) -> list[tuple[str, list[tuple[Hit, Thumbnail]]]]:
        """Headings, and the hits below them with their thumbnails."""
        found = {"": self.hits, **({WHOLE: self.whole} if self.whole else {})}
        made = {hit.row: thumbnail_of(hit, self.images) for hit in (*self.hits, *self.whole)}
        return [(heading, [(hit, made[hit.row]) for hit in hits]) for heading, hits in found.items()]


def write_sheet(sheet: Sheet, path: Path) -> None:
    """Write `NAME.html` or `NAME.png`.

    Raises:
        SpecError: another kind of file.
        OutputError: it cannot be written.
    """
    check_sheet(path)
    content = KINDS[path.suffix.lower()](sheet)
    with atomic(path) as partial:
        partial.write_bytes(content)


def check_sheet(path: Path) -> None:
    """Raise an error if no sheet can be written there, before any work is done."""
    if path.suffix.lower() not in KINDS:
        raise SpecError(f"a sheet is written as {' or '.join(KINDS)}, not as {path.name}")
    check_file(path)


def _html(sheet: Sheet) -> bytes:
    page = template("vitdecomp.retrieval", "sheet.html.jinja", uri=partial(image_uri, kind="JPEG", quality=88))
    references = [shrunk(image) for image in sheet.references]
    return page.render(sheet=sheet, references=references, parts=sheet.parts()).encode()


def _png(sheet: Sheet) -> bytes:
    rows: list[_Row] = [_Row(words) for words in (sheet.title, sheet.asked, *sheet.notes)]
    rows += _lines([(Thumbnail(shrunk(image)), "asked") for image in sheet.references])
    for heading, found in sheet.parts():
        rows += [_Row(heading)] if heading else []
        rows += _lines([(made, f"{hit.score:.3f}  {Path(hit.id).name}") for hit, made in found])
    page = Image.new("RGB", (COLUMNS * (SIDE + MARGIN) + MARGIN, MARGIN + sum(row.height for row in rows)), PAPER)
    pen, font, top = ImageDraw.Draw(page), ImageFont.load_default(11), MARGIN
    for row in rows:
        row.draw(page, pen, font, top)
        top += row.height
    buffer = BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


KINDS: Mapping[str, Callable[[Sheet], bytes]] = MappingProxyType({".html": _html, ".png": _png})
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a picture: a line of words, or thumbnails with words below."""

    words: str = ""
    cells: Sequence[tuple[Thumbnail, str]] = ()

    @property
    def height(self) -> int:
        """Pixels from this row to the next."""
        return SIDE + LINE + MARGIN if self.cells else LINE + MARGIN // 2

    def draw(self, page: Image.Image, pen: ImageDraw.ImageDraw, font: Font, top: int) -> None:
        """Draw it from a height on."""
        if self.words:
            pen.text((MARGIN, top), _fitting(self.words, font, page.width - 2 * MARGIN), INK, font)
        for column, (made, words) in enumerate(self.cells):
            left = MARGIN + column * (SIDE + MARGIN)
            picture = EMPTY if made.image is None else ImageOps.pad(made.image, (SIDE, SIDE), color=PAPER)
            page.paste(picture, (left, top, left + SIDE, top + SIDE))
            if made.image is None:
                for i, line in enumerate(_wrapped(f"no picture: {made.reason}", font)):
                    pen.text((left + MARGIN, top + MARGIN + i * LINE), line, FAINT, font)
            pen.text((left, top + SIDE + 1), _fitting(words, font, SIDE), INK, font)


def _lines(cells: Sequence[tuple[Thumbnail, str]]) -> list[_Row]:
    return [_Row(cells=cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)]


def _fitting(words: str, font: Font, width: int) -> str:
    """As much of some words as fits on a line."""
    words = printable(" ".join(words[:LONGEST].split()))
    while font.getlength(words) > width:
        words = words[:-2] + "…"
    return words


def _wrapped(words: str, font: Font) -> list[str]:
    """Break words into lines of a thumbnail's width, as many as it has room for."""
    lines = [""]
    for word in words[:LONGEST].split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= SIDE - 2 * MARGIN or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_fitting(line, font, SIDE - 2 * MARGIN) for line in lines[: SIDE // LINE - 1]]
