"""The vectors that a model of transformers computes for each image.

Each is a function of the model and the images, made with `partial`: it holds how the vector was found, and no state.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitdecomp.errors import InputError
from vitdecomp_adapters.submodule import replaced

IMAGES, VIDEOS, SPECTROGRAMS = "pixel_values", "pixel_values_videos", "input_values"
"""The names that transformers gives to what a model takes; some models of videos take them by the first."""
RUN: Mapping[str, Callable[[Any, Tensor], Any]] = {
    "get_image_features": lambda model, images: unmasked(model).get_image_features(pixel_values=images),
    "forward": lambda model, images: unmasked(model)(**{argument(model) or IMAGES: images}),
    "base_model": lambda model, images: unmasked(model).base_model(**{argument(model.base_model) or IMAGES: images}),
}
MASKING = "random_masking"  # the method of transformers that drops patches
POOL: Mapping[str, Callable[[Tensor], Tensor]] = {
    "vector": lambda x: x.flatten(1),  # convolutional models keep (n, d, 1, 1)
    "first row": lambda x: x[:, 0],
    "last row": lambda x: x[:, -1],
    "mean of rows": lambda x: x.mean(1),
    "mean of places": lambda x: x.mean((2, 3)),
    "mean of places, channels last": lambda x: x.mean((1, 2)),
}


def argument(model: Any) -> str | None:
    """Return the name by which a model takes its input; `None` if it takes something else, such as a waveform."""
    known = inspect.signature(model.forward).parameters
    names = (
        (IMAGES, VIDEOS, SPECTROGRAMS) if hasattr(getattr(model, "config", None), "num_mel_bins") else (IMAGES, VIDEOS)
    )
    return next((name for name in names if name in known), None)


def pooled(model: Any, images: Tensor, *, run: str, key: str, pool: str) -> Float[Tensor, "n d"]:
    """Take a vector out of what a model returns.

    Args:
        model: the model.
        images: a batch.
        run: what is called, of `RUN`.
        key: which part of what it returns; empty for a tensor.
        pool: how rows or places become one vector, of `POOL`.
    """
    return POOL[pool](part(RUN[run](model, images), key))


def tokens(model: Any, images: Tensor) -> Tensor:
    """Return all tokens `(n, token, d)`, or a map, in front of the pooling.

    Raises:
        InputError: the model returns none.
    """
    found = part(RUN["base_model"](model, images), "last_hidden_state")
    if found is None:
        raise InputError(f"{type(model).__name__} returns no last_hidden_state: give the path of a module as output")
    value: Tensor = found
    return value


def part(out: Any, key: str) -> Any:
    """Take a part of what a model returns, by name; of several maps the last, and `None` if it is not there."""
    value = getattr(out, key, None) if key else out
    return value[-1] if isinstance(value, (tuple, list)) and value else value


def read_by(model: nn.Module, images: Tensor, *, paths: tuple[str, ...]) -> Float[Tensor, "n d"]:
    """Return what some modules of a model read, one behind the other.

    Raises:
        InputError: they are not called, or more than once.
    """
    readers = {path: _Reader(model.get_submodule(path)) for path in paths}
    copied = model
    for path, reader in readers.items():
        copied = replaced(copied, path, reader)
    RUN["forward"](copied, images)
    for path, reader in readers.items():
        if len(reader.seen) != 1:
            raise InputError(f"{type(model).__name__} calls {path} {len(reader.seen)} times, not once")
    vectors = [reader.seen[0].flatten(1) for reader in readers.values()]
    return vectors[0] if len(vectors) == 1 else torch.cat(vectors, 1)


def unmasked(model: nn.Module) -> Any:
    """Return the model, or a copy that keeps all patches if it drops some at random (masked autoencoders)."""
    for path, part in model.named_modules():
        if path and hasattr(type(part), MASKING):
            kept = copy.copy(part)
            vars(kept)[MASKING] = _keep_all
            return replaced(model, path, kept)
    return model


def _keep_all(sequence: Tensor, noise: Tensor | None = None) -> tuple[Tensor, None, None]:
    """Return all patches, no mask, and no order to restore."""
    return sequence, None, None


class _Reader(nn.Module):
    """Stands in for a module, and keeps what it reads."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.seen: list[Tensor] = []
        self.training = module.training  # its own flag alone

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Return the module's own output, so that all goes on as it would."""
        self.seen += [value for value in (*arguments, *keywords.values()) if isinstance(value, Tensor)]
        return self.module(*arguments, **keywords)
