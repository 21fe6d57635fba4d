"""Tensors that are made of others: quantized weights, of whole numbers and their scales."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def is_made_of_others(tensor: Any) -> bool:
    """Check whether a tensor is made of others, which torch.export takes apart."""
    return is_traceable_wrapper_subclass(tensor)


def plain_tensors(name: str, tensor: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield a tensor under its name, or what a subclass is made of, each under `name.attribute`."""
    if not is_made_of_others(tensor):
        yield name, tensor
        return
    for attribute in tensor.__tensor_flatten__()[0]:
        yield from plain_tensors(f"{name}.{attribute}", getattr(tensor, attribute))
