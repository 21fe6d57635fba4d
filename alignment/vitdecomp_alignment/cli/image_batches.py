"""Images of a data set, read a batch at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.datasets import Pictures
from vitdecomp.errors import InputError
from vitdecomp.models.image_loader import Loading, load_all, name
from vitdecomp.models.prepare import PreparedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Images that were read together, with their names."""

    names: tuple[str, ...]
    images: Float[Tensor, "n channel height width"]


def first_and_all(
    place: Pictures, count: int, subject: PreparedModel, loading: Loading, skipped: list[str]
) -> tuple[ImageBatch, Iterator[ImageBatch]]:
    """Read the first batch, which a model is traced on; and return it with an iterator over all, itself included.

    Raises:
        InputError: no image can be read, or one cannot be that must not be skipped.
    """
    batches = image_batches(place, count, subject, loading, skipped)
    first = next(batches, None)
    if first is None:
        raise InputError(f"no image in {place.root} can be read")
    return first, chain([first], batches)


def image_batches(
    place: Pictures, count: int, subject: PreparedModel, loading: Loading, skipped: list[str]
) -> Iterator[ImageBatch]:
    """Read the first images of a data set.

    Args:
        place: the data set.
        count: how many images.
        subject: the model that takes them.
        loading: how they are read.
        skipped: the names of those that cannot be read are added here.

    Raises:
        InputError: an image cannot be read, and must not be skipped.
    """
    pixels, names = list[Tensor](), list[str]()
    for loaded in load_all(place, range(count), subject.preprocess, loading):
        if isinstance(loaded.pixels, str):
            if not loading.skip_unreadable:
                raise InputError(loaded.pixels)
            logger.warning("left out: %s", loaded.pixels)
            skipped.append(name(place, loaded.index))
        else:
            pixels.append(loaded.pixels)
            names.append(str(place.pictures[loaded.index].id))
        if pixels and (len(pixels) == loading.batch_size or loaded.index == count - 1):
            yield ImageBatch(tuple(names), torch.stack(pixels).to(subject.device, subject.dtype))
            pixels, names = [], []
