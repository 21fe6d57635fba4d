"""Squeezed: a whole image, resized to a model's input without a crop."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.models.preprocessing import Preprocess, color_of, gray_image

LINEAR = 0.01  # share of the range by which gray may miss the middle of black and white


class Squeezed:
    """Resize whole images to the model's input, bilinearly, and scale their values as its own preprocessing does.

    ImageNet-Segmentation is published so: image and mask squeezed to 224 x 224.

    Args:
        preprocess: the model's, which scales every value by itself.

    Raises:
        InputError: it does not.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        levels = [gray_image(preprocess, value) for value in (0, 128, 255)]
        self.height, self.width = levels[0].shape[1:]
        black, gray, white = map(color_of, levels)
        self.low, self.range = black[:, None, None], (white - black)[:, None, None]
        missed = gray - black - (white - black) * 128 / 255
        if not bool((missed.abs() < LINEAR * (white - black).abs()).all()):
            raise InputError(
                "the model's preprocessing does not scale values linearly: images cannot be squeezed for it"
            )

    def __call__(self, image: Image.Image) -> Float[Tensor, "channel height width"]:
        """Turn a photograph into a tensor."""
        resized = image.convert("RGB").resize((self.width, self.height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).to(self.low) / 255
        return self.low + self.range * (pixels if len(self.low) == 3 else pixels.mean(0, keepdim=True))

    def __repr__(self) -> str:
        return f"Squeezed({self.preprocess!r})"
