"""Heatmaps of several methods for people: one page that needs nothing else, or a folder of images."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image

from vitdecomp._utils.files import atomic, check_directory, check_file, make_directory
from vitdecomp.errors import SpecError
from vitdecomp.heatmaps.caption import caption
from vitdecomp.heatmaps.colors import Palette, gray, shown
from vitdecomp.heatmaps.file import save
from vitdecomp.heatmaps.heatmaps import Heatmaps, labels_of

SIDE = 224  # pixels of the longer side of a map on a page, at least


@dataclass(frozen=True, slots=True)
class Panel:
    """One map.

    Attributes:
        method, label: how it was made, and of what. picture: the map over the image. palette: its colors.
        caption: score and audit.
    """

    method: str
    label: str
    picture: Image.Image
    palette: Palette
    caption: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HeatmapSheet:
    """What a page shows.

    Attributes:
        title: of the page. notes: what else is to be said. names: of the images.
        images: as the model takes them, or PIL images. maps: of these, by method.
    """

    title: str
    names: Sequence[str]
    images: Sequence[Any]
    maps: Mapping[str, Heatmaps]
    notes: Sequence[str] = ()

    def rows(self) -> Iterator[tuple[str, Image.Image, list[Panel]]]:
        """Give each image, with its maps."""
        values = {method: maps.values.detach().float().cpu().numpy() for method, maps in self.maps.items()}
        for row, name in enumerate(self.names):
            size = next(iter(self.maps.values())).size
            pixels = shown(self.images[row], size)
            panels = [
                _panel(maps, values[method][row, column], gray(pixels), (row, column), label)
                for method, maps in self.maps.items()
                for column, label in enumerate(labels_of(maps.labels, maps.grid.shape[1]))
            ]
            yield name, Image.fromarray(np.round(255 * pixels).astype(np.uint8)), panels


def _panel(maps: Heatmaps, heat: np.ndarray, below: np.ndarray, at: tuple[int, int], label: str) -> Panel:
    palette = Palette.of(heat, signed=maps.signed)
    return Panel(maps.method, label, Image.fromarray(palette.over(heat, below)), palette, caption(maps, *at))


def check_heatmaps_place(place: Path) -> None:
    """Raise an error if neither a page nor a folder can be written there, before any work is done.

    Raises:
        SpecError: a file of another kind. OutputError: it cannot be written.
    """
    if place.suffix.lower() == ".html":
        check_file(place)
    elif place.suffix:
        raise SpecError(f"maps are written as FILE.html or into a folder DIR/, not as {place.name}")
    else:
        check_directory(place)


def write_heatmaps(sheet: HeatmapSheet, place: Path) -> list[Path]:
    """Write `FILE.html`; or into a folder a PNG file for each map, and all values as `maps.safetensors`.

    Returns:
        The files.

    Raises:
        SpecError: a file of another kind. OutputError: it cannot be written.
    """
    check_heatmaps_place(place)
    return [_page(sheet, place)] if place.suffix else _folder(sheet, place)


def _page(sheet: HeatmapSheet, place: Path) -> Path:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["uri"] = _uri
    text = files("vitdecomp.heatmaps").joinpath("sheet.html.jinja").read_text(encoding="utf-8")
    page = environment.from_string(text).render(sheet=sheet, rows=list(sheet.rows()))
    with atomic(place) as partial:
        partial.write_text(page, encoding="utf-8")
    return place


def _folder(sheet: HeatmapSheet, place: Path) -> list[Path]:
    make_directory(place)
    written = [place / "maps.safetensors"]
    save(sheet.maps, written[0], tuple(sheet.names))
    for number, (name, _, panels) in enumerate(sheet.rows()):
        for panel in panels:
            words = "-".join(_plain(part) for part in (Path(name).stem, panel.method, panel.label))
            written.append(place / f"{number:04d}-{words}.png")
            with atomic(written[-1]) as partial:
                panel.picture.save(partial, "PNG")
    return written


def _plain(words: str) -> str:
    """Keep what a file name may hold everywhere."""
    return re.sub(r"[^A-Za-z0-9]+", "_", words.replace("+", "plus")).strip("_")[:60] or "_"


def _uri(picture: Image.Image) -> str:
    scale = max(1, -(-SIDE // max(picture.size)))
    buffer = BytesIO()
    picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
