"""Pascal VOC: semantic masks of twenty classes.

References:
    Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010: masks are PNGs with a palette, whose
    number is the class, 0 the background and 255 what is ignored.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int8
from numpy.typing import NDArray

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.datasets.masks.mask_file import read_numbers
from vitdecomp.datasets.masks.masked_image import MaskedImage, MaskedImages, as_mask
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.image_list import spelled
from vitdecomp.images.opening import open_image
from vitdecomp.images.reading import read_file

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "dining table",
    "dog",
    "horse",
    "motorbike",
    "person",
    "potted plant",
    "sheep",
    "sofa",
    "train",
    "tv monitor",
)
IGNORED = 255
SPLIT = "val"
IMAGES, MASKS, SPLITS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"


def recognizes(place: Path) -> bool:
    """Recognize a folder `VOC2012`, or one that it is in."""
    return _root(place) is not None


def read(place: Path, images: Path | None, split: str | None) -> MaskedImages:
    """Read one record for each class in each image of a split: its object is that class, all others are background.

    All masks are read once for that.

    Args:
        place: `VOC2012`, `VOCdevkit` or the folder that it is in.
        images: by default `JPEGImages`.
        split: a list in `ImageSets/Segmentation`, by default `val`.

    Raises:
        InputError: a listed mask is missing or has other values, or no image shows a class.
        SpecError: an unknown split.
    """
    root = _root(place) or place
    found = []
    for name in _listed(root, split or SPLIT):
        path = root / MASKS / f"{name}.png"
        found += [(name, path, number) for number in np.unique(_values(path)).tolist() if number not in (0, IGNORED)]
    if not found:
        raise InputError(f"no mask of the split {split or SPLIT} of {root} shows a class")
    folder = images or root / IMAGES

    def build(place: int) -> MaskedImage:
        name, path, number = found[place]
        return MaskedImage(
            id=f"{spelled(name)}/{CLASSES[number - 1].replace(' ', '')}",
            image_id=spelled(name),
            opener=partial(open_image, folder / f"{name}.jpg"),
            reader=partial(_mask, path, number),
            source=str(path),
            class_name=CLASSES[number - 1],
            class_index=number,
        )

    return MaskedImages(root, range(len(found)), build)


def _mask(path: Path, number: int, height: int, width: int) -> Int8[np.ndarray, "h w"]:
    values = _values(path)
    return as_mask(values == number, values == IGNORED)


def _values(path: Path) -> NDArray[np.int64]:
    values = read_numbers(path)
    strange = values[(values > len(CLASSES)) & (values != IGNORED)]
    if len(strange):
        raise InputError(
            f"mask {path} has the class {strange[0]}: there are 0 .. {len(CLASSES)}, and {IGNORED} for what is ignored"
        )
    return values


def _listed(root: Path, split: str) -> list[str]:
    path = root / SPLITS / f"{split}.txt"
    if not path.is_file():
        known = [found.stem for found in sorted((root / SPLITS).glob("*.txt"))]
        raise SpecError(f"{root / SPLITS} has no split {split!r}{did_you_mean(split, known)}")
    try:
        names = read_file(path).decode("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not names:
        raise InputError(f"{path} lists no images")
    return names


def _root(place: Path) -> Path | None:
    folders = (place, *sorted(place.glob("VOC[0-9]*")), *sorted(place.glob("VOCdevkit/VOC[0-9]*")))
    return next((folder for folder in folders if (folder / MASKS).is_dir() and (folder / SPLITS).is_dir()), None)
