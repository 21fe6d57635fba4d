"""The image processors of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vitdecomp_adapters.huggingface.library import SAFE, transformers


class Preprocess:
    """An image processor of transformers as a function of one image, which other processes can be given.

    Args:
        processor: the image processor.
        settings: told to it at each call, in place of its own.
    """

    def __init__(self, processor: Any, settings: Mapping[str, Any] | None = None) -> None:
        self.processor, self.settings = processor, dict(settings or {})

    def __call__(self, image: Any) -> Tensor:
        """Turn a photograph into a tensor `(channels, height, width)`."""
        result: Tensor = self.processor(images=image, return_tensors="pt", **self.settings)["pixel_values"][0]
        return result

    def __repr__(self) -> str:
        return f"{self.processor!r} {self.settings}" if self.settings else repr(self.processor)


def preprocessing(where: str) -> Preprocess | None:
    """Load the image processor of a repository; `None` where it has none."""
    try:
        processor = transformers().AutoImageProcessor.from_pretrained(where, **SAFE)
    except (OSError, ValueError):
        return None
    return Preprocess(processor)
