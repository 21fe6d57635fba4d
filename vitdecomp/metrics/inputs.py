"""What the measures take: vectors, labels and components, checked once and brought to one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import interpolate

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError

Vectors: TypeAlias = Float[Tensor, "n d"] | Float[np.ndarray, "n d"]
Labels: TypeAlias = np.ndarray | Tensor | Sequence[int]  # whole numbers, one for each image


def as_double(x: Tensor | np.ndarray, noun: str, axes: str) -> Float64[Tensor, "..."]:
    """Convert an array to float64 on the CPU.

    Raises:
        InputError: other axes than named, no entries, NaN or infinity.
    """
    found = x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.array(x, dtype=np.float64))
    if found.ndim != len(axes.split(", ")) or found.numel() == 0:
        raise InputError(f"{noun} must be of shape ({axes}) and not empty, not {tuple(found.shape)}")
    found = found.to("cpu", torch.float64)
    if not bool(found.sum().isfinite()):  # one sum sees them all, in a fifth of the time
        raise InputError(f"{noun}: NaN or infinity among the values")
    return found


def upsampled(maps: Float64[Tensor, "n h w"], shape: tuple[int, ...]) -> Float64[Tensor, "n height width"]:
    """Upsample heatmaps bilinearly to the size of masks of a shape `(n, height, width)`.

    Raises:
        InputError: the masks are of another number, or smaller.
    """
    if len(shape) != 3 or len(maps) != shape[0] or any(a > b for a, b in zip(maps.shape, shape, strict=True)):
        raise InputError(f"heatmaps {tuple(maps.shape)} do not fit masks {shape}; both are (n, h, w)")
    if maps.shape == shape:
        return maps
    larger: Tensor = interpolate(maps[:, None], shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return larger


def as_labels(labels: Labels, n: int, noun: str = "labels") -> Int64[np.ndarray, " n"]:
    """Labels as an array.

    Raises:
        InputError: not one whole number for each of the n images.
    """
    found = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if found.shape != (n,):
        raise InputError(f"{noun}: shape {found.shape}, but there are {n} images; give one label for each")
    if found.dtype.kind not in "iub":
        raise InputError(f"{noun} must be whole numbers, not {found.dtype}")
    return found.astype(np.int64)


def as_factors(labels: Mapping[str, Labels], n: int) -> dict[str, Int64[np.ndarray, " n"]]:
    """Check the labels of every factor.

    Raises:
        InputError: no factor, or labels that do not fit the images.
    """
    if not labels:
        raise InputError("labels: no factor; give {name: labels}")
    return {name: as_labels(values, n, f"labels of {name!r}") for name, values in labels.items()}


def pick(names: Iterable[str], labels: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the labels of some factors.

    Raises:
        InputError: no names.
        SpecError: a factor without labels.
    """
    wanted = list(names)
    if not wanted:
        raise InputError("components: no factor; give {factor: components}")
    missing = [name for name in wanted if name not in labels]
    if missing:
        raise SpecError(f"no labels for factor {missing[0]!r}{did_you_mean(missing[0], labels)}")
    return {name: labels[name] for name in wanted}


def summed(c: Contributions, components: Iterable[Component] | None) -> Float64[Tensor, "n d"]:
    """Sum of the contributions of some components (`None`: all).

    Raises:
        InputError: no components, or contributions with NaN.
        SpecError: a component that the contributions do not have.
    """
    if components is None:
        return as_double(c.total(), "contributions", "n, d")
    rows = rows_of(c, components)
    return as_double(c.values[:, rows].to(torch.float64).sum(1), "contributions", "n, d")


def rows_of(c: Contributions, components: Iterable[Component]) -> list[int]:
    """Return where components stand in the contributions, each once.

    Raises:
        InputError: no components.
        SpecError: a component that the contributions do not have.
    """
    place = {component: i for i, component in enumerate(c.components)}
    wanted = list(dict.fromkeys(components))
    if not wanted:
        raise InputError("components: none given; give at least one, or None for all")
    unknown = [str(w) for w in wanted if w not in place]
    if unknown:
        raise SpecError(f"no component {unknown[0]!r}{did_you_mean(unknown[0], [str(k) for k in place])}")
    return [place[w] for w in wanted]
