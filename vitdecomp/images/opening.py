"""Photographs: found in folders and opened."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

from PIL import Image

from vitdecomp.errors import InputError
from vitdecomp.images.decoding import decode
from vitdecomp.images.image_list import list_images
from vitdecomp.images.reading import read_file

logger = logging.getLogger(__name__)
LISTED = 20  # files that a warning names


def find_images(place: Path, limit: int | None = None) -> list[Path]:
    """Find an image file, or all those in a folder and the folders in it, in the order of their names.

    Raises:
        InputError: there is no such place, or no image in it.
    """
    return list(list_images(place).files[:limit])


def open_image(path: Path) -> Image.Image:
    """Open a photograph in RGB.

    Raises:
        InputError: the file is not a readable image; the message names it.
    """
    try:
        data = read_file(path)
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror or error}") from error
    return decode(data, str(path))


def open_images(files: Sequence[Path], *, strict: bool = False) -> dict[Path, Image.Image]:
    """Open the files that are readable images, and log the others as a warning.

    Raises:
        InputError: none is readable, or one is not and `strict`.
    """
    images: dict[Path, Image.Image] = {}
    errors: list[InputError] = []
    for file in files:
        try:
            images[file] = open_image(file)
        except InputError as error:
            if strict:
                raise
            errors.append(error)
    if errors and not images:
        raise errors[0]
    warn_of_skipped([str(file) for file in files if file not in images], len(files))
    return images


def warn_of_skipped(names: Sequence[str], n: int) -> None:
    """Log, if there are any, which of n images are skipped since they cannot be read."""
    if names:
        listed = ", ".join(names[:LISTED])
        more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
        logger.warning(
            "%s of %s images cannot be read and are skipped: %s%s", f"{len(names):,}", f"{n:,}", listed, more
        )


def sample_photographs() -> list[Image.Image]:
    """Load the photographs that come with scikit-learn: a temple (`china.jpg`) and a flower (`flower.jpg`)."""
    # Read as files: importing scikit-learn takes as long as importing torch.
    folder = Path(str(distribution("scikit-learn").locate_file("sklearn/datasets/images")))
    return [open_image(folder / name) for name in ("china.jpg", "flower.jpg")]
