"""How a photograph becomes the tensor that a model expects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.images.decoding import as_rgb
from vitdecomp.models.adapter import LoadedModel

Preprocess: TypeAlias = Callable[[Any], Tensor]
DEFAULT_SIZE = (3, 224, 224)
GRAY_SIDE = 512  # of images of one gray level
CHANNELS = (1, 3)  # what a photograph can be made into


def preprocessing(model: LoadedModel) -> Preprocess:
    """Return the model's own preprocessing; a plain one if it brings none.

    Raises:
        InputError: it brings none, and its images have channels that no photograph has, or it takes other inputs.
    """
    if model.preprocess is not None:
        return model.preprocess
    size = model.input_size or DEFAULT_SIZE
    if len(size) != len(DEFAULT_SIZE):
        raise InputError(
            f"{model.spec} takes inputs of shape {size}, and no image file becomes one: decompose it in Python, or "
            "give it a preprocess, in a LoadedModel(module, preprocess, ...) that a python:module:factory returns"
        )
    if size[0] not in CHANNELS:
        raise InputError(
            f"{model.spec} takes images of {size[0]} channels, and their statistics are unknown: give it a preprocess, "
            "in a LoadedModel(module, preprocess, ...) that a python:module:factory returns"
        )
    return PlainPreprocess(size)


class NoPreprocess:
    """Stands in where no image file fits a model: refuses every image, and knows the shape of an input.

    Args:
        size: of one input.
        refusal: why no image fits.
    """

    def __init__(self, size: tuple[int, ...], refusal: InputError) -> None:
        self.size, self.refusal = size, refusal

    def __call__(self, image: Image.Image) -> Tensor:
        """Raise `InputError`."""
        raise self.refusal


class PlainPreprocess:
    """Resizes to the whole of `(channels, height, width)` and scales to [-1, 1]."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self.size = size

    def __call__(self, image: Image.Image) -> Float[Tensor, "channel height width"]:
        """Turn a photograph into a tensor; average its colors if the model does not have three channels."""
        channels, height, width = self.size
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 127.5 - 1
        return pixels if channels == 3 else pixels.mean(0, keepdim=True).expand(channels, -1, -1)

    def __repr__(self) -> str:
        return f"PlainPreprocess(size={self.size})"


def describe(preprocess: Preprocess) -> str:
    """Describe the preprocessing; the text is the same whenever the preprocessing is."""
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(preprocess).split()))


def as_tensor(preprocess: Preprocess, image: Image.Image) -> Float[Tensor, "channel height width"]:
    """Return one photograph of any mode, preprocessed.

    Raises:
        InputError: the preprocessing does not give one image tensor.
    """
    tensor: Any = preprocess(as_rgb(image))  # somebody else's function
    if not isinstance(tensor, Tensor) or tensor.ndim != 3:
        got = f"shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InputError(f"the model's preprocessing must give a tensor (channels, height, width), not {got}")
    return tensor


def gray_image(preprocess: Preprocess, value: int) -> Float[Tensor, "channel height width"]:
    """Preprocess an image of one gray level, 0 .. 255."""
    return as_tensor(preprocess, Image.new("RGB", (GRAY_SIDE, GRAY_SIDE), (value, value, value)))


def color_of(pixels: Float[Tensor, "channel height width"]) -> Float[Tensor, " channel"]:
    """Return the color of an image of one, from the middle, where no preprocessing pads."""
    return pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2]
