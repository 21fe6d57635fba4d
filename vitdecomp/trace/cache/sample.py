"""Images that stand for those that a model was traced with, which a file keeps only the format and the range of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from vitdecomp._utils.schema import Dimension, Finite, Within
from vitdecomp._utils.tolerance import TOLERANCE, dtype_name
from vitdecomp.errors import InputError

DTYPES = {dtype_name(dtype): dtype for dtype in TOLERANCE}
MAX_ELEMENTS = 2**28


@dataclass(frozen=True, slots=True)
class Sample:
    """What is kept of images.

    Attributes:
        shape: of one. dtype: the number format. mean, std: of all elements.
    """

    shape: tuple[Dimension, ...]
    dtype: str
    mean: Finite
    std: Annotated[Finite, Within(0)]

    @classmethod
    def of(cls, images: Tensor) -> Sample:
        """Take the sample of some images."""
        wide = images.detach().double().cpu()
        shape = tuple(images.shape[1:])
        return cls(shape, dtype_name(images.dtype), float(wide.mean()), float(wide.std(unbiased=False)))

    def images(self, n: int) -> Tensor:
        """Noise of that format and range, always the same.

        Raises:
            InputError: there is no such format, or the images would be too large.
        """
        size = (n, *self.shape)
        if self.dtype not in DTYPES or torch.Size(size).numel() > MAX_ELEMENTS:
            raise InputError(f"no images of shape {size} in {self.dtype}")
        noise = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
        return (self.mean + max(self.std, 1e-3) * noise).to(DTYPES[self.dtype])
