"""What a decomposer is given: images or other inputs, and directions."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from vitdecomp._utils.modes import ordinary
from vitdecomp._utils.tolerance import TOLERANCE, dtype_name
from vitdecomp.errors import InputError
from vitdecomp.trace.capture import takes


def check_images(images: object, module: nn.Module, expected: tuple[int, ...] | None) -> Tensor:
    """Check the images, or other inputs, and return them as a tensor without history.

    Raises:
        InputError: images that a module cannot take, or unlike those that are expected.
    """
    if not isinstance(images, Tensor) or images.ndim < 2:
        raise InputError(
            f"inputs must be a tensor, images (n, channels, height, width) or others (n, ...), not {_describe(images)}"
        )
    if len(images) == 0:
        raise InputError("inputs: a batch of zero; give at least one")
    if expected is not None and tuple(images.shape[1:]) != expected:
        raise InputError(f"inputs of shape {tuple(images.shape[1:])}, but this Decomposer was fitted on {expected}")
    weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    if weight is not None and images.device != weight.device:
        raise InputError(
            f"inputs are on {images.device}, the model is on {weight.device}: "
            f"convert with images.to({str(weight.device)!r})"
        )
    if any(tensor.is_inference() for tensor in (*module.parameters(), *module.buffers())):
        raise InputError(
            "the model's weights were made inside torch.inference_mode(), where nothing can be traced: "
            "make the model outside of it, or give copy.deepcopy(model), made outside"
        )
    if not bool(images.isfinite().all()):
        raise InputError("inputs contain NaN or infinity")
    return ordinary(images)


def in_format(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images in the number format that a model takes.

    Raises:
        InputError: they are finer than float32 and would lose digits, or no floating-point numbers.
    """
    if images.dtype == dtype:
        return images
    if not images.is_floating_point():
        raise InputError(f"inputs are {dtype_name(images.dtype)}: give what the model's preprocessing makes of them")
    if not _may_become(images.dtype, dtype):
        raise InputError(
            f"inputs are {images.dtype} on {images.device}, the model is {dtype}: convert with images.to({dtype})"
        )
    found = images.to(dtype)
    if not bool(found.isfinite().all()):
        raise InputError(f"inputs hold numbers that are too large for {dtype_name(dtype)}, which the model takes")
    return found


def input_format(module: nn.Module, images: Tensor) -> torch.dtype:
    """Find the number format of images that a module takes: the one they have, or that of most of its weights.

    A model with weights in several formats does not tell by any one of them; a trial run does.
    """
    sizes: Counter[torch.dtype] = Counter()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            sizes[tensor.dtype] += tensor.numel()
    if not sizes or {*sizes} == {images.dtype}:
        return images.dtype
    for dtype in dict.fromkeys([images.dtype, *(dtype for dtype, _ in sizes.most_common())]):
        if dtype != images.dtype and not _may_become(images.dtype, dtype):
            continue
        if takes(module, images.to(dtype)):
            return dtype
    return images.dtype if len(sizes) > 1 else next(iter(sizes))


def _may_become(dtype: torch.dtype, wanted: torch.dtype) -> bool:
    """Check whether images may be converted silently: preprocessing makes float32, whatever the model is."""
    return dtype in TOLERANCE and wanted in TOLERANCE and (dtype != torch.float64 or wanted == torch.float64)


def _describe(value: object) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def as_directions(directions: object, shape: tuple[int, int], start: int, total: int) -> Tensor:
    """Directions as `(direction, n, d)` for one chunk of images.

    Args:
        directions: `(direction, d)`, or `(total, direction, d)`.
        shape: n and d, of the chunk's representations.
        start: the chunk's first image among all.
        total: how many images there are.

    Raises:
        InputError: they do not fit the representation or the images.
    """
    n, d = shape
    directions = ordinary(directions) if isinstance(directions, Tensor) else directions
    if not isinstance(directions, Tensor) or directions.shape[-1:] != (d,) or directions.ndim not in (2, 3):
        raise InputError(f"directions must be (direction, {d}) or (n, direction, {d}), not {_describe(directions)}")
    if directions.ndim == 2:
        return directions[:, None].expand(-1, n, -1)
    if len(directions) != total:
        raise InputError(f"directions for {len(directions)} images, but there are {total}")
    some = directions[start : start + n]
    return torch.cat([some, some[-1:].expand(n - len(some), -1, -1)]).transpose(0, 1)
