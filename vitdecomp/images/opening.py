"""Photographs: found in folders and opened."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

from PIL import Image

from vitdecomp.errors import InputError
from vitdecomp.images.decoding import decode
from vitdecomp.images.image_list import list_images
from vitdecomp.images.reading import read_file


def find_images(place: Path, limit: int | None = None) -> list[Path]:
    """An image file, or all those in a folder and the folders in it, in the order of their names.

    Raises:
        InputError: there is no such place, or no image in it.
    """
    return list(list_images(place).files[:limit])


def open_image(path: Path) -> Image.Image:
    """A photograph in RGB.

    Raises:
        InputError: the file is not a readable image; the message names it.
    """
    try:
        data = read_file(path)
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror or error}") from error
    return decode(data, str(path))


def sample_photographs() -> list[Image.Image]:
    """The photographs that come with scikit-learn: a temple (`china.jpg`) and a flower (`flower.jpg`)."""
    # Read as files: importing scikit-learn takes as long as importing torch.
    folder = Path(str(distribution("scikit-learn").locate_file("sklearn/datasets/images")))
    return [open_image(folder / name) for name in ("china.jpg", "flower.jpg")]
