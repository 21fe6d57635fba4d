"""Pairs: image files and mask files of the same name in two folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int8
from PIL import Image

from vitdecomp.datasets.masks.mask_file import SUFFIXES, read_values
from vitdecomp.datasets.masks.masked_image import MaskedImage, MaskedImages, as_mask
from vitdecomp.errors import InputError
from vitdecomp.images.decoding import upright_turn
from vitdecomp.images.formats import suffixes
from vitdecomp.images.image_list import list_images, spelled
from vitdecomp.images.opening import open_image
from vitdecomp.images.reading import read_file


@dataclass(frozen=True, slots=True)
class Pair:
    """Files of an image and its mask; `name`: what both are called in their folders, without the ending."""

    name: str
    image: Path
    mask: Path

    @property
    def folder(self) -> str | None:
        """The folder that both are in, within the folders of images and of masks."""
        return spelled(self.name.split("/", 1)[0]) if "/" in self.name else None


def find_pairs(images: Path, masks: Path, *, every_image: bool = False) -> list[Pair]:
    """Find the image of every mask, by its name.

    Args:
        images: the folder of the images.
        masks: that of the masks.
        every_image: whether every image needs a mask, too.

    Raises:
        InputError: no folder, no masks, a mask in a format with loss or without an image, an image without a mask.
    """
    for noun, folder in (("images", images), ("masks", masks)):
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder} of {noun}")
    pairs, known = [], dict[Path, dict[str, list[str]]]()
    for mask in _masks(masks):
        name = mask.relative_to(masks).with_suffix("")
        folder = images / name.parent
        if folder not in known:
            known[folder] = images_by_name(folder)
        found = known[folder].get(name.name, [])
        if len(found) != 1:
            raise InputError(_unpaired(mask, folder, name.name, found))
        pairs.append(Pair(name.as_posix(), folder / found[0], mask))
    if every_image:
        _require_masks(images, masks, {pair.image for pair in pairs})
    return pairs


def images_by_name(folder: Path) -> dict[str, list[str]]:
    """List the image files right in a folder by their names without the ending; none if there is no folder."""
    known, found = suffixes(), dict[str, list[str]]()
    if folder.is_dir():
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            stem, ending = os.path.splitext(name)  # noqa: PTH122 - a Path for each of a million files is slow
            if ending.lower() in known:
                found.setdefault(stem, []).append(name)
    return found


def nonzero(path: Path, height: int, width: int) -> Int8[np.ndarray, "h w"]:
    """Read a mask whose object is all that is not 0, or not black."""
    values = read_values(path)
    return as_mask(values != 0 if values.ndim == 2 else (values != 0).any(axis=2))


def paired_masks(
    root: Path,
    pairs: list[Pair],
    read: Callable[[Path, int, int], Int8[np.ndarray, "height width"]] = nonzero,
    *,
    indices: dict[str, int] | None = None,
) -> MaskedImages:
    """Make a set of pairs; the folders that they are in are their classes, if every pair is in one.

    Args:
        root: the place of the set.
        pairs: its files.
        read: reads a mask, from its path, for an image of a height and width.
        indices: numbers of the classes.
    """
    classes = all(pair.folder is not None for pair in pairs)

    def build(place: int) -> MaskedImage:
        pair = pairs[place]
        name = pair.folder if classes else None
        return MaskedImage(
            id=spelled(pair.name),
            image_id=spelled(pair.name),
            opener=partial(open_image, pair.image),
            reader=partial(_upright, read, pair),
            source=str(pair.mask),
            class_name=name,
            class_index=(indices or {}).get(name or ""),
        )

    return MaskedImages(root, range(len(pairs)), build)


def _upright(
    read: Callable[[Path, int, int], Int8[np.ndarray, "h w"]], pair: Pair, height: int, width: int
) -> Int8[np.ndarray, "h2 w2"]:
    """Read a mask, and turn it as the image was turned by its EXIF data, if it is of the size that was stored."""
    mask = read(pair.mask, height, width)
    if mask.shape == (height, width) or mask.shape != (width, height):
        return mask
    turn = upright_turn(read_file(pair.image))
    if turn is None:
        return mask
    turned: Int8[np.ndarray, "h2 w2"] = np.asarray(Image.fromarray(mask.view(np.uint8)).transpose(turn)).view(np.int8)
    return turned


def _masks(folder: Path) -> list[Path]:
    try:
        found = list(list_images(folder).files)
    except InputError as error:
        raise InputError(f"no masks in {folder}: put a PNG there for each image, of the same name") from error
    lossy = next((path for path in found if path.suffix.lower() not in SUFFIXES), None)
    if lossy is not None:
        raise InputError(f"mask {lossy} is in a format that changes values: save masks as PNG")
    return found


def _unpaired(mask: Path, folder: Path, name: str, found: list[str]) -> str:
    if found:
        return f"mask {mask} belongs to {' and to '.join(found)} in {folder}: names without endings must differ"
    return f"mask {mask} has no image {name}.* in {folder}: give both the same name"


def _require_masks(images: Path, masks: Path, paired: set[Path]) -> None:
    alone = [path for path in list_images(images).files if path not in paired]
    if alone:
        more = f" and {len(alone) - 1:,} more have none" if len(alone) > 1 else " has none"
        raise InputError(f"image {alone[0]}{more} in {masks}: put a mask of the same name there")
