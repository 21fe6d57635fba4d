"""Pixel-ImageNet: masks of the training images of ImageNet.

References:
    Zhang, Liew, Wei, Wei and Zhao, "Interactive Object Segmentation with Inside-Outside Guidance", CVPR 2020,
    github.com/shiyinzhang/Pixel-ImageNet: each image has one class, and its mask's values tell the instances apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vitdecomp.datasets.masks.folder import mask_folder
from vitdecomp.datasets.masks.masked_image import MaskedImages
from vitdecomp.datasets.masks.pairs import find_pairs, paired_masks
from vitdecomp.errors import InputError

CLASS = re.compile(r"n\d{8}")
IMAGES = ("images", "train", "ILSVRC2012/train", "ILSVRC/Data/CLS-LOC/train")


def recognizes(place: Path) -> bool:
    """Recognize a folder of masks in folders that are named by WordNet."""
    folders = next(_classes(_root(place)), None) if place.is_dir() else None
    return folders is not None and any(folders.glob("*.png"))


def read(place: Path, images: Path | None, split: str | None) -> MaskedImages:
    """Read `CLASS/NAME.png` with `CLASS/NAME.JPEG` of ImageNet's training images; all instances are the object.

    Args:
        place: the folder of the masks, or one with `masks` in it.
        images: ImageNet's folder `train`, or one with `train` in it; by default `images` or `train` beside the folder
            of the masks.
        split: none.

    Raises:
        InputError: no masks, or no images for them.
    """
    masks = _root(place)
    folders = (images, images / "train") if images is not None else [masks.parent / name for name in IMAGES]
    found = next((folder for folder in folders if folder.is_dir() and any(_classes(folder))), None)
    if found is None:
        raise InputError(
            f"the images of {place} are not in {' or '.join(map(str, folders))}: "
            "give the folder of ImageNet's training images (images=, --images)"
        )
    return paired_masks(place, find_pairs(found, masks))


def _root(place: Path) -> Path:
    return mask_folder(place) or place


def _classes(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if CLASS.fullmatch(path.name) and path.is_dir())
