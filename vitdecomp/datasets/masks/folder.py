"""A folder of images, and one of masks beside it."""

from __future__ import annotations

from pathlib import Path

from vitdecomp.datasets.masks.masked_image import MaskedImages
from vitdecomp.datasets.masks.pairs import find_pairs, paired_masks

IMAGES = "images"
MASKS = ("masks", "annotations")


def mask_folder(place: Path) -> Path | None:
    """Find the folder of masks; `None` if there is none."""
    return next((place / name for name in MASKS if (place / name).is_dir()), None)


def recognizes(place: Path) -> bool:
    """Recognize a folder with `masks` or `annotations` in it."""
    return mask_folder(place) is not None


def read(place: Path, images: Path | None, split: str | None) -> MaskedImages:
    """Read `images/NAME.jpg` with `masks/NAME.png`, or `annotations/NAME.png`; folders within them are classes.

    What is not 0 (or not black) in a mask is the object.

    Raises:
        InputError: no masks, a mask without an image, or an image without a mask.
    """
    masks = mask_folder(place) or place / MASKS[0]
    return paired_masks(place, find_pairs(images or place / IMAGES, masks, every_image=images is None))
