"""A model prepared for a command: loaded, on a device, in a number format, with its images."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.opening import find_images, open_images, sample_photographs
from vitdecomp.models.adapter import LoadedModel, load_model, load_texts
from vitdecomp.models.preprocessing import NoPreprocess, Preprocess, as_tensor, preprocessing
from vitdecomp.models.random_weights import randomise
from vitdecomp.models.user_code import NAMED, import_named

D = TypeVar("D")
DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "bfloat16", "float16")}
RANDOM_INPUTS = 2
SAMPLE = "china.jpg and flower.jpg of scikit-learn"


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """A model as the command line asks for it.

    Attributes:
        model: the spec. random_weights: random weights, without zeros, instead of trained ones.
        checkpoint: a local file with weights. device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: number format; by default that of the model. seed: for random weights.
        image_size: `224`, `HEIGHTxWIDTH` or `CHANNELSxHEIGHTxWIDTH`; by default what the model was made for.
        imports: modules of the user's own that register the model; by default those that were named so far.
    """

    model: str
    random_weights: bool = False
    checkpoint: Path | None = None
    device: str = "auto"
    dtype: str | None = None
    seed: int = 0
    image_size: str | None = None
    imports: tuple[str, ...] = field(default_factory=lambda: tuple(NAMED))

    @property
    def as_it_comes(self) -> bool:
        """Whether the model has its library's weights, in its own number format, for its own image size."""
        return not self.random_weights and (self.checkpoint, self.dtype, self.image_size) == (None, None, None)


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model that can be run.

    Attributes:
        options: what was asked for. loaded: the model. preprocess: a photograph to a tensor.
        device, dtype: of the model's images.
    """

    options: ModelOptions
    loaded: LoadedModel
    preprocess: Preprocess
    device: torch.device
    dtype: torch.dtype

    def batch(self, photographs: Sequence[Image.Image]) -> Float[Tensor, "n channel height width"]:
        """Photographs as the model expects them."""
        pixels = torch.stack([as_tensor(self.preprocess, image) for image in photographs])
        return pixels.to(self.device, self.dtype)

    def example(self, place: Path | None, limit: int, *, strict: bool = False) -> tuple[Float[Tensor, "n *image"], str]:
        """Open images to inspect the model with: the user's, or two photographs at hand.

        A model that no image file fits is given random numbers.

        Args:
            place: an image, or a folder with some.
            limit: images at most.
            strict: stop at the first file that cannot be read, instead of skipping it.

        Returns:
            The images as the model expects them, and what they are in words.

        Raises:
            InputError: no image can be read, or one cannot be and `strict`.
        """
        if place is None and isinstance(self.preprocess, NoPreprocess):
            shape = (RANDOM_INPUTS, *self.preprocess.size)
            source = torch.Generator().manual_seed(self.options.seed)
            inputs = torch.randn(shape, generator=source).to(self.device, self.dtype)
            return inputs, f"{RANDOM_INPUTS} random inputs of shape {self.preprocess.size}"
        if place is None:
            return self.batch(sample_photographs()), SAMPLE
        images = open_images(find_images(place, limit), strict=strict)
        return self.batch([*images.values()]), ", ".join(file.name for file in images)


def prepare(options: ModelOptions, *, reads_images: bool = True) -> PreparedModel:
    """Load a model as requested.

    Args:
        options: what is asked for.
        reads_images: refuse a model that no image file fits; else it can be looked at with random inputs.

    Raises:
        SpecError: an unknown model, device, number format or size.
        InputError: no image file fits the model.
        LoadError: the weights cannot be had.
    """
    device, size = _device(options.device), _size(options.image_size)
    if options.dtype is not None and options.dtype not in DTYPES:
        raise SpecError(f"no dtype {options.dtype!r}{did_you_mean(options.dtype, list(DTYPES))}")
    weights: dict[str, Any] = {} if options.checkpoint is None else {"checkpoint_path": str(options.checkpoint)}
    import_named(options.imports)
    torch.manual_seed(options.seed)
    loaded = load_model(options.model, pretrained=not options.random_weights, image_size=size, **weights)
    if options.random_weights and options.checkpoint is None:
        randomise(loaded.module, options.seed)
        loaded = replace(loaded, pretrained=False)
    module = loaded.module.to(device=device, dtype=DTYPES.get(options.dtype or ""))
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    preprocess: Preprocess
    try:
        preprocess = preprocessing(loaded)
    except InputError as refusal:
        if reads_images or loaded.input_size is None:
            raise
        preprocess = NoPreprocess(loaded.input_size, refusal)
    return PreparedModel(options, replace(loaded, module=module), preprocess, device, dtype)


def prepare_texts(options: ModelOptions) -> LoadedModel | None:
    """Load what reads the texts of a model, without the rest of it; `None` if the whole has to be loaded.

    Raises:
        SpecError: an unknown library or device.
        LoadError: the weights cannot be had.
    """
    if not options.as_it_comes:
        return None
    device = _device(options.device)
    import_named(options.imports)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        reader = load_texts(options.model)
    return reader and replace(reader, module=reader.module.to(device))


def fitted(fit: Callable[[Tensor], D], batch: Tensor, prepared: PreparedModel) -> D:
    """Fit to a batch, and say how to give the image size of a model that does not tell its own."""
    try:
        return fit(batch)
    except InputError as error:
        if prepared.options.image_size is None and prepared.loaded.input_size is None:
            raise InputError(f"{error} (--image-size gives the size that the model takes)") from error
        raise


def _device(name: str) -> torch.device:
    """Find a device that is available."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    kind, _, index = name.partition(":")
    if kind not in available or (index and not index.isdecimal()):
        raise SpecError(f"no device {name!r}{did_you_mean(name, ['auto', *available])}")
    if not available[kind] or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        raise SpecError(f"device {name!r} is not available; use --device auto")
    return torch.device(name)


def _size(text: str | None) -> tuple[int, ...] | None:
    """`(height, width)` or `(channels, height, width)` of a size as it is typed."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", text):
        raise SpecError(f"image size {text!r} is not N, HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH")
    numbers = tuple(int(n) for n in text.split("x"))
    return numbers * 2 if len(numbers) == 1 else numbers
