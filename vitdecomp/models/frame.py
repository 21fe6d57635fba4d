"""Frame: which part of an image a model's input shows, so that a mask can be taken through the same resize and crop."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Int8, Int64
from PIL import Image
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.models.frame_probe import Probe
from vitdecomp.models.preprocessing import Preprocess, as_tensor

SNAP = 0.25  # pixels from a whole number, within which a resized size or an offset is one


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a frame: the image is resized, and the input cut out of it.

    Attributes:
        source: pixels of the image. resized: of the resized image; a fraction where it was cropped before.
        offset: where the input begins in the resized image; negative where it was padded. size: pixels of the input.
    """

    source: int
    resized: Fraction
    offset: Fraction
    size: int

    def nearest(self) -> Int64[np.ndarray, " size"]:
        """Find the pixel of the image in which the center of each pixel of the input lies; -1 for padding."""
        scale = self.source / self.resized
        found = np.array([(place + self.offset + Fraction(1, 2)) * scale // 1 for place in range(self.size)], dtype=int)
        return np.where((found >= 0) & (found < self.source), found, -1)

    def forward(self, pixels: Int64[np.ndarray, " p"]) -> Int64[np.ndarray, " p"]:
        """Find the pixel of the input in which the center of each pixel of the image lies; -1 where it was cut off."""
        found = np.floor((pixels + 0.5) * float(self.resized / self.source) - float(self.offset)).astype(np.int64)
        return np.where((found >= 0) & (found < self.size), found, -1)


@dataclass(frozen=True, slots=True)
class Frame:
    """How an image of one size becomes the input of a model, by its rows and its columns."""

    rows: Axis
    columns: Axis

    @classmethod
    def measure(cls, preprocess: Preprocess, height: int, width: int) -> Frame:
        """Measure what a preprocessing does to images of a size: by test images, so that it may be of any library.

        Raises:
            InputError: it is no resize and crop, or the image is too small to tell.
        """
        probe = Probe(preprocess, height, width)
        return cls(*(_snapped(length, *probe.line(axis)) for axis, length in enumerate((height, width))))

    def mask(self, mask: Int8[np.ndarray, "height width"], *, points: bool = False) -> Int8[np.ndarray, "h w"]:
        """Take a mask through the same resize and crop; padding is not annotated (-1).

        Args:
            mask: 1 on the object, 0 beside it, -1 where nothing is annotated, as large as the image.
            points: move each annotated pixel, of which nearest neighbor would lose most. Where two of one kind meet
                they are one, and where a 1 meets a 0 nothing is annotated.

        Raises:
            InputError: a mask of another size.
        """
        if mask.shape != (self.rows.source, self.columns.source):
            raise InputError(
                f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, and the image "
                f"{self.columns.source} x {self.rows.source}: give a mask of the image's size"
            )
        return self._moved(mask) if points else self._nearest(mask)

    def _nearest(self, mask: Int8[np.ndarray, "height width"]) -> Int8[np.ndarray, "h w"]:
        rows, columns = self.rows.nearest(), self.columns.nearest()
        found: Int8[np.ndarray, "h w"] = mask[np.ix_(rows, columns)]
        found[rows < 0], found[:, columns < 0] = -1, -1
        return found

    def _moved(self, mask: Int8[np.ndarray, "height width"]) -> Int8[np.ndarray, "h w"]:
        places = np.nonzero(mask >= 0)
        values, rows, columns = mask[places], self.rows.forward(places[0]), self.columns.forward(places[1])
        kept = (rows >= 0) & (columns >= 0)
        met = np.zeros((2, self.rows.size, self.columns.size), dtype=bool)
        met[values[kept], rows[kept], columns[kept]] = True
        return np.where(met[0] == met[1], -1, met[1]).astype(np.int8)


class MaskedPreprocess:
    """Preprocess images for a model, and take their masks through the same resize and crop.

    Published code has cropped images to the center and squeezed their masks: neither fits the other then.

    Args:
        preprocess: the model's.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        self._frames: dict[tuple[int, int], Frame] = {}

    def frame(self, height: int, width: int) -> Frame:
        """Return the frame of images of a size, which is measured once."""
        if (height, width) not in self._frames:
            self._frames[height, width] = Frame.measure(self.preprocess, height, width)
        return self._frames[height, width]

    def __call__(
        self, image: Image.Image, mask: Int8[np.ndarray, "height width"], *, points: bool = False
    ) -> tuple[Tensor, Int8[np.ndarray, "h w"]]:
        """Turn an image and its mask into the model's input `(channels, h, w)` and a mask `(h, w)` of the same place.

        Raises:
            InputError: a mask of another size, or a preprocessing that is no resize and crop.
        """
        return as_tensor(self.preprocess, image), self.frame(image.height, image.width).mask(mask, points=points)


def _snapped(length: int, slope: float, start: float, size: int) -> Axis:
    """Round to whole pixels, which a resize followed by a crop has; a crop before the resize keeps its fractions."""
    resized, offset = length / slope, start / slope
    whole = max(round(resized), 1)
    shift = round(start * whole / length)
    ends = [abs((place * slope + start) * whole / length - shift - place) for place in (0, size)]
    if max(ends) <= SNAP:
        return Axis(length, Fraction(whole), Fraction(shift), size)
    return Axis(length, Fraction(resized), Fraction(offset), size)
