"""Images with masks, read and preprocessed ahead of the model, in batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from vitdecomp.datasets.masks import MaskedImage
from vitdecomp.errors import InputError
from vitdecomp.models.frame import MaskedPreprocess
from vitdecomp.models.image_loader import Loading, ahead

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MaskedBatch:
    """Images with masks that were read together.

    Attributes:
        records: what they are. images: as the model takes them, on the CPU.
        masks: of the same place: 1 on the object, 0 beside it, -1 where nothing is annotated.
    """

    records: tuple[MaskedImage, ...]
    images: Float[Tensor, "n channel h w"]
    masks: Int8[np.ndarray, "n h w"]

    def __len__(self) -> int:
        """Count the images."""
        return len(self.records)


@dataclass(frozen=True, slots=True)
class _Read:
    """One record with its image and mask, or with the reason why there is none."""

    record: MaskedImage
    pixels: Tensor | str
    mask: Int8[np.ndarray, "h w"] | None = None


def masked_batches(
    records: Sequence[MaskedImage], prepare: MaskedPreprocess, loading: Loading, skipped: list[str]
) -> Iterator[MaskedBatch]:
    """Read images with masks, in their order; a mask that does not fit its image stops it.

    Args:
        records: of a data set.
        prepare: takes images and masks to the model's input.
        loading: how many at once, by how many threads, and whether images that cannot be read are left out.
        skipped: gets the ids of those that are left out.

    Raises:
        InputError: a mask that cannot be read or does not fit; an image that cannot be read, if none is left out.
    """
    kept = list[_Read]()
    for read in ahead(lambda record: _read(record, prepare), records, loading):
        if not isinstance(read.pixels, str):
            kept.append(read)
        elif loading.skip_unreadable:
            logger.warning("left out: %s", read.pixels)
            skipped.append(read.record.id)
        else:
            raise InputError(read.pixels)
        if len(kept) == loading.batch_size:
            yield _batch(kept)
            kept = []
    if kept:
        yield _batch(kept)


def _read(record: MaskedImage, prepare: MaskedPreprocess) -> _Read:
    try:
        image = record.image()
    except InputError as error:
        return _Read(record, str(error))
    return _Read(record, *prepare(image, record.mask_of(image), points=record.points))


def _batch(read: Sequence[_Read]) -> MaskedBatch:
    pixels = [one.pixels for one in read if isinstance(one.pixels, torch.Tensor)]
    masks = [one.mask for one in read if one.mask is not None]
    return MaskedBatch(tuple(one.record for one in read), torch.stack(pixels), np.stack(masks))
