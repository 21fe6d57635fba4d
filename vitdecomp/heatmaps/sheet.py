"""Heatmaps of several methods for people: one page that needs nothing else, or a folder of images.

Both are written as the maps are made, a batch at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitdecomp._utils.files import atomic, check_directory, check_file, make_directory
from vitdecomp._utils.html import stream_page, template
from vitdecomp.errors import InputError, SpecError
from vitdecomp.heatmaps.caption import caption
from vitdecomp.heatmaps.colors import Palette, gray
from vitdecomp.heatmaps.file import save
from vitdecomp.heatmaps.grid import upsampled
from vitdecomp.heatmaps.heatmaps import Heatmaps, labels_of
from vitdecomp.images.shown import picture, shown


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
class SheetBatch:
    """Some images with their maps.

    Attributes:
        names: of the images. images: as the model takes them, or PIL images. maps: of these, by method.
    """

    names: Sequence[str]
    images: Sequence[Any]
    maps: Mapping[str, Heatmaps]

    def rows(self) -> Iterator[tuple[str, Image.Image, list[Panel]]]:
        """Give each image, with its maps."""
        values = {m: upsampled(maps.grid, maps.size).detach().float().cpu().numpy() for m, maps in self.maps.items()}
        for row, name in enumerate(self.names):
            height, width = _of_image(next(iter(self.maps.values())))
            pixels = shown(self.images[row], (height, width))
            panels = [
                _panel(maps, values[method][row, column], gray(pixels), (row, column), label)
                for method, maps in self.maps.items()
                for column, label in enumerate(labels_of(maps.labels, maps.grid.shape[1]))
            ]
            yield name, picture(pixels), panels


def _of_image(maps: Heatmaps) -> tuple[int, int]:
    if len(maps.size) != 2:
        raise InputError(f"pages show maps of two axes, and these have {len(maps.size)}: draw them with maps.plot()")
    return maps.size[0], maps.size[1]


@dataclass(frozen=True, slots=True)
class HeatmapSheet:
    """What a page shows.

    Attributes:
        title: of the page. notes: what else is to be said. batches: of images, which are asked for once, one by one.
    """

    title: str
    batches: Iterable[SheetBatch]
    notes: Sequence[str] = ()

    def rows(self) -> Iterator[tuple[str, Image.Image, list[Panel]]]:
        """Give each image, with its maps."""
        for batch in self.batches:
            yield from batch.rows()


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
    """Write `FILE.html`; or into a folder a PNG file for each map, and at the end all values as `maps.safetensors`.

    No more than one batch of images is held, and of folders the grids of all maps.

    Returns:
        The files.

    Raises:
        SpecError: a file of another kind. OutputError: it cannot be written.
    """
    check_heatmaps_place(place)
    if not place.suffix:
        return _folder(sheet, place)
    return [
        stream_page(template("vitdecomp.heatmaps", "sheet.html.jinja"), {"sheet": sheet, "rows": sheet.rows()}, place)
    ]


def _folder(sheet: HeatmapSheet, place: Path) -> list[Path]:
    make_directory(place)
    values, pictures, done = place / "maps.safetensors", list[Path](), list[SheetBatch]()
    names = list[str]()
    for batch in sheet.batches:
        for name, _, panels in batch.rows():
            pictures += _pictures(panels, place, f"{len(names):04d}-{_plain(Path(name).stem)}")
            names.append(name)
        done.append(replace(batch, images=()))
    methods = done[0].maps if done else {}
    save({method: Heatmaps.joined([batch.maps[method] for batch in done]) for method in methods}, values, tuple(names))
    return [values, *pictures]


def _pictures(panels: Sequence[Panel], place: Path, stem: str) -> Iterator[Path]:
    """Write the maps of one image; where two would have the same name, the second is numbered."""
    taken: dict[str, int] = {}
    for panel in panels:
        words = f"{stem}-{_plain(panel.method)}-{_plain(panel.label)}"
        taken[words] = taken.get(words, 0) + 1
        path = place / f"{words}{f'-{taken[words]}' if taken[words] > 1 else ''}.png"
        with atomic(path) as partial:
            panel.picture.save(partial, "PNG")
        yield path


def _plain(words: str) -> str:
    """Keep what a file name may hold everywhere."""
    return re.sub(r"[^A-Za-z0-9]+", "_", words.replace("+", "plus")).strip("_")[:60] or "_"
