"""One image with the mask of an object, and a set of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Bool, Int8
from PIL import Image

from vitdecomp.errors import InputError


@dataclass(frozen=True, slots=True)
class MaskedImage:
    """An image, and where an object is in it; both are read when they are asked for.

    Attributes:
        id: its name, unique in the set.
        image_id: the name of the image, which several classes may share.
        opener: opens the image in RGB.
        reader: reads the mask of an image of a height and width.
        source: the file of the mask, for messages.
        class_name: what the object is, if it is known: a WordNet id (`n01440764`) in the sets of ImageNet's images.
        class_index: its number in the set's own list of classes, if it has one.
        points: whether single points are annotated, and all other pixels are not.
    """

    id: str
    image_id: str
    opener: Callable[[], Image.Image]
    reader: Callable[[int, int], Int8[np.ndarray, "height width"]]
    source: str
    class_name: str | None = None
    class_index: int | None = None
    points: bool = False

    def image(self) -> Image.Image:
        """Open the image in RGB.

        Raises:
            InputError: it cannot be read.
        """
        return self.opener()

    def mask(self) -> Int8[np.ndarray, "height width"]:
        """Read the mask: 1 on the object, 0 beside it, -1 where nothing is annotated.

        Raises:
            InputError: image or mask cannot be read, or do not fit.
        """
        return self.load()[1]

    def load(self) -> tuple[Image.Image, Int8[np.ndarray, "height width"]]:
        """Open the image and read its mask, as large as it.

        Raises:
            InputError: one cannot be read, the mask is of another size, or has values that mean nothing.
        """
        image = self.image()
        return image, self.mask_of(image)

    def mask_of(self, image: Image.Image) -> Int8[np.ndarray, "height width"]:
        """Read the mask of the image, which was opened before.

        Raises:
            InputError: it cannot be read, is of another size, or has values that mean nothing.
        """
        mask = self.reader(image.height, image.width)
        if mask.shape != (image.height, image.width):
            raise InputError(
                f"mask {self.source} has {mask.shape[1]} x {mask.shape[0]} pixels, and image {self.image_id} "
                f"{image.width} x {image.height}: give a mask of the image's size"
            )
        return mask


class MaskedImages(Sequence[MaskedImage]):
    """Images with masks, in a fixed order; a slice of them is of the same kind.

    Args:
        root: the folder or file that they are in.
        places: which of them these are.
        build: gives one of them by its place.
    """

    def __init__(self, root: Path, places: range, build: Callable[[int], MaskedImage]) -> None:
        self.root, self._places, self._build = root, places, build

    def __len__(self) -> int:
        """Count the records."""
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> MaskedImage: ...

    @overload
    def __getitem__(self, index: slice) -> MaskedImages: ...

    def __getitem__(self, index: int | slice) -> MaskedImage | MaskedImages:
        """Return one record, or some as a set."""
        if isinstance(index, slice):
            return MaskedImages(self.root, self._places[index], self._build)
        return self._build(self._places[index])

    def __repr__(self) -> str:
        return f"MaskedImages({len(self)} in {self.root})"


def as_mask(
    inside: Bool[np.ndarray, "height width"], ignored: Bool[np.ndarray, "height width"] | None = None
) -> Int8[np.ndarray, "height width"]:
    """Make a mask of where the object is, and of what is not annotated."""
    mask = inside.astype(np.int8)
    if ignored is not None:
        mask[ignored] = -1
    return mask
