"""Photographs: found in folders, opened, and made into the tensors that a model expects."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitdecomp.adapter import LoadedModel
from vitdecomp.data.decoding import as_rgb, decode
from vitdecomp.data.image_list import list_images
from vitdecomp.data.reading import read_file
from vitdecomp.errors import InputError

Preprocess: TypeAlias = Callable[[Any], Tensor]
DEFAULT_SIZE = (3, 224, 224)


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


def preprocessing(model: LoadedModel, size: tuple[int, ...] | None = None) -> Preprocess:
    """The model's own preprocessing; a plain one if it brings none, or if another size is asked for."""
    if model.preprocess is not None and size in (None, model.input_size):
        return model.preprocess
    return PlainPreprocess(size or model.input_size or DEFAULT_SIZE)


class PlainPreprocess:
    """Resizes to the whole of `(channels, height, width)` and scales to [-1, 1]."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self.size = size

    def __call__(self, image: Image.Image) -> Float[Tensor, "channel height width"]:
        """A photograph as a tensor; its colours are averaged if the model does not have three channels."""
        channels, height, width = self.size
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 127.5 - 1
        return pixels if channels == 3 else pixels.mean(0, keepdim=True).expand(channels, -1, -1)

    def __repr__(self) -> str:
        return f"PlainPreprocess(size={self.size})"


def describe(preprocess: Preprocess) -> str:
    """A text that is the same whenever the preprocessing is."""
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(preprocess).split()))


def as_tensor(preprocess: Preprocess, image: Image.Image) -> Float[Tensor, "channel height width"]:
    """One photograph of any mode, preprocessed.

    Raises:
        InputError: the preprocessing does not give one image tensor.
    """
    tensor: Any = preprocess(as_rgb(image))  # somebody else's function
    if not isinstance(tensor, Tensor) or tensor.ndim != 3:
        got = f"shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InputError(f"the model's preprocessing must give a tensor (channels, height, width), not {got}")
    return tensor
