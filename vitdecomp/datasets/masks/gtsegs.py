"""ImageNet-Segmentation: `gtsegs_ijcv.mat`, a MATLAB 7.3 file, which is HDF5.

References:
    Guillaumin, Kuettel and Ferrari, "ImageNet Auto-Annotation with Segmentation Propagation", IJCV 2014: 4,276 images
    of 445 classes; `value/img`, `value/gt` and `value/target` refer to images, masks in a cell each, WordNet ids.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int8
from PIL import Image

from vitdecomp._utils.limits import FILE, check_size
from vitdecomp.datasets.masks.masked_image import MaskedImage, MaskedImages, as_mask
from vitdecomp.errors import InputError
from vitdecomp.images.decoding import as_rgb

IMAGES, MASKS, CLASSES = "value/img", "value/gt", "value/target"


def recognizes(place: Path) -> bool:
    """Recognize a MATLAB file by its name."""
    return place.is_file() and place.suffix.lower() == ".mat"


def read(place: Path, images: Path | None, split: str | None) -> MaskedImages:
    """Read the images and masks of the file; 1 in a mask is the object.

    Raises:
        InputError: h5py is missing, or the file is not as it was published.
    """
    with _opened(place) as file:
        if not (IMAGES in file and MASKS in file):
            raise InputError(f"{place} has no {IMAGES} and {MASKS}: it is not gtsegs_ijcv.mat")
        n = len(file[IMAGES])
        if not n or len(file[MASKS]) != n:
            raise InputError(f"{place} has {n} images and {len(file[MASKS])} masks: it is not gtsegs_ijcv.mat")
        names = [_text(file, place, i) for i in range(n)] if CLASSES in file else [None] * n

    def build(index: int) -> MaskedImage:
        return MaskedImage(
            id=f"{index:05d}",
            image_id=f"{index:05d}",
            opener=lambda: _image(place, index),
            reader=lambda height, width: _mask(place, index),
            source=f"{place}, number {index}",
            class_name=names[index],
        )

    return MaskedImages(place, range(n), build)


def _opened(place: Path) -> AbstractContextManager[Any]:
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{place} is a MATLAB file: reading it needs h5py: pip install 'vitdecomp[masks]'") from error
    try:
        file: AbstractContextManager[Any] = h5py.File(place, "r")
    except OSError as error:
        raise InputError(f"cannot read {place}: it is not a MATLAB 7.3 file (HDF5), or damaged") from error
    return file


def _array(file: Any, place: Path, kind: str, index: int) -> np.ndarray:
    """Follow the references of an entry; MATLAB keeps axes the other way round."""
    try:
        found = file[file[kind][index, 0]]
        while found.dtype == object:  # a cell, which holds a reference
            found = file[found[0, 0]]
        check_size(found.size * found.dtype.itemsize, FILE, f"{kind} number {index} of {place}")
        return np.asarray(found[()]).T
    except InputError:
        raise
    except Exception as error:  # of many kinds, h5py's among them
        raise InputError(f"cannot read {kind} number {index} of {place}: it is damaged") from error


def _text(file: Any, place: Path, index: int) -> str | None:
    found = _array(file, place, CLASSES, index)
    return "".join(map(chr, found.ravel())) if found.dtype.kind in "iu" else None


def _image(place: Path, index: int) -> Image.Image:
    with _opened(place) as file:
        found = _array(file, place, IMAGES, index)
    if found.dtype != np.uint8 or not (found.ndim == 2 or (found.ndim == 3 and found.shape[2] == 3)):
        raise InputError(
            f"image number {index} of {place} has values {found.dtype} of shape {found.shape}: no photograph"
        )
    return as_rgb(Image.fromarray(np.ascontiguousarray(found)))


def _mask(place: Path, index: int) -> Int8[np.ndarray, "h w"]:
    with _opened(place) as file:
        found = _array(file, place, MASKS, index)
    if found.ndim != 2 or not np.isin(found, (0, 1)).all():
        raise InputError(f"mask number {index} of {place} has other values than 0 and 1: it is not gtsegs_ijcv.mat")
    return as_mask(found == 1)
