"""What a decomposer is given: images and directions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitdecomp.errors import InputError


def check_images(images: object, module: nn.Module, expected: tuple[int, ...] | None) -> None:
    """Raise `InputError` for images that a module cannot take, or unlike those that are expected."""
    if not isinstance(images, Tensor) or images.ndim < 2:
        raise InputError(f"images must be a tensor (n, channels, height, width), not {_describe(images)}")
    if len(images) == 0:
        raise InputError("images: a batch of zero; give at least one")
    if expected is not None and tuple(images.shape[1:]) != expected:
        raise InputError(f"images of shape {tuple(images.shape[1:])}, but this Decomposer was fitted on {expected}")
    weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    if weight is not None and (images.dtype != weight.dtype or images.device != weight.device):
        raise InputError(
            f"images are {images.dtype} on {images.device}, the model is {weight.dtype} on {weight.device}: "
            "convert with images.to(...)"
        )
    if not bool(images.isfinite().all()):
        raise InputError("images contain NaN or infinity")


def _describe(value: object) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def as_directions(directions: object, representation: Tensor, start: int, total: int) -> Tensor:
    """Directions as `(direction, n, d)` for one chunk of images.

    Raises:
        InputError: they do not fit the representation or the images.
    """
    n, d = representation.shape
    if not isinstance(directions, Tensor) or directions.shape[-1:] != (d,) or directions.ndim not in (2, 3):
        raise InputError(f"directions must be (direction, {d}) or (n, direction, {d}), not {_describe(directions)}")
    if directions.ndim == 2:
        return directions[:, None].expand(-1, n, -1)
    if len(directions) != total:
        raise InputError(f"directions for {len(directions)} images, but there are {total}")
    some = directions[start : start + n]
    return torch.cat([some, some[-1:].expand(n - len(some), -1, -1)]).transpose(0, 1)
