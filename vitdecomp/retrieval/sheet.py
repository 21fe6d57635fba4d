"""Sheets: what was found, as one picture or as one page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, StrictUndefined
from PIL import Image, ImageDraw, ImageFont, ImageOps

from vitdecomp.errors import InputError, SpecError
from vitdecomp.files import atomic, check_file
from vitdecomp.images import open_image
from vitdecomp.retrieval.hit import Hit

SIDE = 160  # pixels of a thumbnail
MARGIN, LINE = 8, 14  # pixels
COLUMNS = 5
PAPER, INK, EMPTY = "#ffffff", "#202020", "#e8e8e8"


@dataclass(frozen=True, slots=True)
class Sheet:
    """What was looked for, and what was found.

    Attributes:
        title: of the page. asked: what was looked for, in words.
        references: images that were looked for. hits: what was found, the best first.
    """

    title: str
    asked: str
    references: Sequence[Image.Image]
    hits: Sequence[Hit]


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
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files("vitdecomp.retrieval").joinpath("sheet.html.jinja").read_text(encoding="utf-8")
    references = [_uri(_thumbnail(image)) for image in sheet.references]
    pictures = [_uri(picture) if (picture := _of(hit)) else None for hit in sheet.hits]
    hits = list(zip(sheet.hits, pictures, strict=True))
    return environment.from_string(text).render(sheet=sheet, references=references, hits=hits).encode()


def _png(sheet: Sheet) -> bytes:
    cells = [*((_thumbnail(image), "asked") for image in sheet.references)]
    found = [(_of(hit), f"{hit.score:.3f}  {Path(hit.id).name}") for hit in sheet.hits]
    rows = [*_lines(cells), *_lines(found)]
    step = SIDE + LINE + MARGIN
    page = Image.new("RGB", (COLUMNS * (SIDE + MARGIN) + MARGIN, 2 * (LINE + MARGIN) + len(rows) * step), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for i, words in enumerate((sheet.title, sheet.asked)):
        pen.text((MARGIN, MARGIN // 2 + i * LINE), words, INK, font)
    for r, row in enumerate(rows):
        for column, (picture, words) in enumerate(row):
            left, top = MARGIN + column * (SIDE + MARGIN), 2 * (LINE + MARGIN) + r * step
            page.paste(ImageOps.pad(picture, (SIDE, SIDE), color=PAPER) if picture else EMPTY, _box(left, top))
            pen.text((left, top + SIDE + 1), _fitting(words, font), INK, font)
    buffer = BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


Cells = Sequence[tuple[Image.Image | None, str]]
KINDS: Mapping[str, Callable[[Sheet], bytes]] = MappingProxyType({".html": _html, ".png": _png})


def _lines(cells: Cells) -> list[Cells]:
    return [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]


def _box(left: int, top: int) -> tuple[int, int, int, int]:
    return left, top, left + SIDE, top + SIDE


def _fitting(words: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """As much of some words as fits below a thumbnail."""
    while font.getlength(words) > SIDE:
        words = words[:-2] + "…"
    return words


def _of(hit: Hit) -> Image.Image | None:
    """The thumbnail of a hit; `None` where its file is not known or no longer there."""
    if hit.path is None:
        return None
    try:
        return _thumbnail(open_image(hit.path))
    except InputError:
        return None


def _thumbnail(image: Image.Image) -> Image.Image:
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    return small


def _uri(picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
