"""Models and image processors of transformers for another image size."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from vitdecomp._utils.hub import first_line
from vitdecomp.errors import SpecError
from vitdecomp_adapters.huggingface.describe import FRAMES, VISION
from vitdecomp_adapters.huggingface.preprocessing import Preprocess
from vitdecomp_adapters.huggingface.weights import Filled, without_weights

OWN = "interpolate_pos_encoding"  # the method that resamples position embeddings in transformers


def check_size(config: Any, size: tuple[int, ...] | None, spec: str) -> None:
    """Refuse another size for what takes videos or spectrograms.

    Raises:
        SpecError: a size for one of these.
    """
    if size is not None and (hasattr(config, "num_mel_bins") or any(hasattr(config, name) for name in FRAMES)):
        raise SpecError(f"{spec} takes no images: leave the image size out, and set its own in the configuration")


def sized(config: Any, size: tuple[int, ...], spec: str) -> Any:
    """Change the configuration of a model to another size.

    Raises:
        SpecError: other channels than the model has.
    """
    made = copy.deepcopy(config)
    vision = next((getattr(made, part) for part in VISION if hasattr(made, part)), made)
    channels = getattr(vision, "num_channels", 3)
    if len(size) == 3 and size[0] != channels:
        raise SpecError(f"{spec} takes images of {channels} channels, not {size[0]}")
    old = getattr(vision, "image_size", None)
    if old is not None:
        height, width = size[-2:]
        square = height == width and not isinstance(old, (list, tuple))
        vision.image_size = height if square else [height, width]
    return made


def resized(filled: Filled, config: Any, size: tuple[int, ...], spec: str, **options: Any) -> Filled:
    """Resize a model with its weights; transformers resamples position embeddings.

    Raises:
        SpecError: some parameter depends on the size, and transformers does not resample it; or no such size.
    """
    old: Any = filled.module
    try:
        new = without_weights(config, **options).module
    except Exception as error:  # sizes that a model cannot have show in any way
        raise SpecError(f"{spec} cannot be built for images of {size[-2:]}: {first_line(error)}") from error
    tensors, wanted = old.state_dict(), new.state_dict()
    for name, tensor in tensors.items():
        if name in wanted and tensor.shape != wanted[name].shape:
            tensors[name] = _resampled(old, name, wanted[name], size[-2:], spec)
    new.load_state_dict(tensors, strict=False)
    new.to(next(old.parameters()).dtype)
    return Filled(new.eval(), filled.unfilled, filled.unknown)


def preprocess_for(own: Preprocess, size: tuple[int, ...], spec: str) -> Preprocess:
    """Make a processor for images of another size, with the same statistics, interpolation and crop.

    Raises:
        SpecError: the processor cannot be told.
    """
    try:
        made = Preprocess(own.processor, _settings(own.processor, *size[-2:]))
        shape = tuple(made(Image.new("RGB", (64, 48))).shape)
    except Exception as error:  # processors that cannot be told fail in any way
        raise SpecError(f"the image processor of {spec} makes no images of {size[-2:]}: {first_line(error)}") from error
    if shape[1:] != tuple(size[-2:]):
        raise SpecError(f"the image processor of {spec} makes images of {shape} when told to make {size[-2:]}")
    return made


def _settings(processor: Any, height: int, width: int) -> dict[str, Any]:
    """Return the settings of the processor for each call."""
    crop = _plain(processor.crop_size) if getattr(processor, "do_center_crop", False) else {}
    size = _plain(processor.size)
    if not crop:
        edge = "shortest_edge" in size and height == width
        return {"size": {"shortest_edge": height} if edge else {"height": height, "width": width}}
    ratio = max(height / crop["height"], width / crop["width"])
    scaled = {key: round(value * ratio) for key, value in size.items()}
    return {"size": scaled, "crop_size": {"height": height, "width": width}}


def _plain(size: Any) -> dict[str, int]:
    """Return the sides that a size names; it is a dictionary, or an object like one."""
    items: Mapping[str, Any] = size if isinstance(size, Mapping) else vars(size)
    return {key: value for key, value in items.items() if value is not None}


def _resampled(model: nn.Module, name: str, like: Tensor, size: tuple[int, ...], spec: str) -> Tensor:
    """Resize one tensor: indices as the new model has them, position embeddings as transformers does."""
    if not like.is_floating_point():
        return like
    path = name.split(".")[:-1]
    owners = (model.get_submodule(".".join(path[: len(path) - up])) for up in (0, 1) if up <= len(path))
    owner: Any = next((module for module in owners if hasattr(module, OWN)), None)
    if owner is None:
        raise SpecError(
            f"{spec} cannot be used with images of {size}: its {name} is made for its own size, and transformers does "
            "not resample it"
        )
    rows, dimension = like.shape[-2:]
    with torch.no_grad():
        found: Tensor = getattr(owner, OWN)(like.new_zeros(1, rows, dimension), *size)
    if found.numel() != like.numel():
        raise SpecError(f"{spec} cannot be used with images of {size}: transformers resamples its {name} to another")
    return found.reshape(like.shape)
