"""ImageNet-S: semantic masks of images of ImageNet.

References:
    Gao et al., "Large-scale Unsupervised Semantic Segmentation", arXiv 2106.03149, github.com/LUSSeg/ImageNet-S: the
    class of a pixel is R + 256 G, 0 is all else, 1000 is ignored; classes are numbered from 1 in the order of their
    WordNet ids.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int8

from vitdecomp._utils.limits import TEXTS
from vitdecomp._utils.registry import did_you_mean
from vitdecomp.datasets.masks.mask_file import read_values
from vitdecomp.datasets.masks.masked_image import MaskedImages, as_mask
from vitdecomp.datasets.masks.pairs import find_pairs, paired_masks
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.reading import read_file

SUFFIX = "-segmentation"
SPLIT = "validation"
VERSIONS = (50, 300, 919)  # numbers of classes
OTHER, IGNORED = 0, 1000
LISTS = ("ImageNetS_categories_im{n}.txt", "data/categories/ImageNetS_categories_im{n}.txt")


def recognizes(place: Path) -> bool:
    """Recognize a folder with `validation-segmentation` in it, or one with a version of the set."""
    return place.is_dir() and (_is_version(place) or any(map(_is_version, place.glob("ImageNetS*"))))


def read(place: Path, images: Path | None, split: str | None) -> MaskedImages:
    """Read `SPLIT-segmentation/CLASS/NAME.png` with `SPLIT/CLASS/NAME.JPEG`; the object is of the image's own class.

    Other classes in an image are background. Which number an image's class has follows from the order of all classes:
    from the list in `ImageNetS_categories_im919.txt` (300, 50) in the folder, or from the folders of the masks if there
    are as many. Else only masks that show one class can be read.

    Args:
        place: `ImageNetS919`, `ImageNetS300` or `ImageNetS50`, or the folder with one of them.
        images: folder of the classes with the images; by default SPLIT in the same folder.
        split: `validation`, which is the default, or `train-semi`.

    Raises:
        InputError: no masks, a mask without an image, or an image without a mask.
        SpecError: an unknown split.
    """
    root = _version(place)
    name = split or SPLIT
    masks = root / f"{name}{SUFFIX}"
    if not masks.is_dir():
        known = [path.name.removesuffix(SUFFIX) for path in sorted(root.glob(f"*{SUFFIX}"))]
        raise SpecError(f"{root} has no split {name!r} with masks{did_you_mean(name, known)}")
    numbers = _numbers(root, masks)
    pairs = find_pairs(images or root / name, masks, every_image=images is None)
    return paired_masks(root, pairs, partial(_mask, numbers), indices=numbers)


def _mask(numbers: dict[str, int], path: Path, height: int, width: int) -> Int8[np.ndarray, "h w"]:
    values = read_values(path)
    if values.ndim != 3 or values[..., 2].any():
        raise InputError(f"mask {path} is none of ImageNet-S: the class of a pixel is R + 256 G, and B is 0")
    classes = values[..., 0] + 256 * values[..., 1]
    found = set(np.unique(classes).tolist()) - {OTHER, IGNORED}
    if found and max(found) > max(VERSIONS):
        raise InputError(f"mask {path} has the class {max(found)}: there are 1 .. {max(VERSIONS)}, and {IGNORED}")
    number = numbers.get(path.parent.name)
    if number is None and len(found) > 1:
        raise InputError(
            f"mask {path} shows the classes {', '.join(map(str, sorted(found)))}, and which is {path.parent.name} is "
            f"not known: put {LISTS[0].format(n=max(VERSIONS))} into the folder of the data set"
        )
    own = number if number is not None else max(found, default=-1)
    return as_mask(classes == own, classes == IGNORED)


def _numbers(root: Path, masks: Path) -> dict[str, int]:
    """Return the number of each class, by the order of WordNet ids; nothing if not all classes are known."""
    folders = sorted(path.name for path in masks.iterdir() if path.is_dir())
    path = _list(root)
    every = folders if path is None else sorted(_words(path))
    strange = [name for name in folders if name not in set(every)]
    if strange:
        raise InputError(f"{path} does not list {strange[0]}, which is a folder of {masks}: it is of another version")
    return {name: number for number, name in enumerate(every, 1)} if len(every) in VERSIONS else {}


def _words(path: Path) -> list[str]:
    try:
        return read_file(path, TEXTS).decode("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list of classes {path}: {error}") from error


def _list(root: Path) -> Path | None:
    """Find the list of the classes of a version, which the name of its folder tells where there are several lists."""
    named = [n for n in VERSIONS if root.name == f"ImageNetS{n}"]
    found = [root / name.format(n=n) for n in named or VERSIONS for name in LISTS]
    there = [path for path in found if path.is_file()]
    return there[0] if len(there) == 1 or (there and named) else None


def _is_version(place: Path) -> bool:
    return any(path.is_dir() for path in place.glob(f"*{SUFFIX}"))


def _version(place: Path) -> Path:
    if _is_version(place):
        return place
    found = [path for path in sorted(place.glob("ImageNetS*")) if _is_version(path)]
    if len(found) != 1:
        raise InputError(
            f"{place} has {len(found)} versions of ImageNet-S: give one of the folders ImageNetS919, 300, 50"
        )
    return found[0]
