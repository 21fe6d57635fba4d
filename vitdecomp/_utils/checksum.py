"""Checksums of texts and tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor


def digest(parts: Iterable[str | bytes | memoryview | Tensor]) -> str:
    """Compute the SHA-256 of texts (as UTF-8) and of the bytes of tensors, one behind the other, in hexadecimal.

    Neither the device nor the strides of a tensor count, nor its dtype and shape, unless they are among the texts.
    """
    found = hashlib.sha256()
    for part in parts:
        found.update(raw_bytes(part) if isinstance(part, Tensor) else part.encode() if isinstance(part, str) else part)
    return found.hexdigest()


def raw_bytes(tensor: Tensor) -> memoryview:
    """View the elements of a tensor as bytes, in order."""
    bytes_: memoryview = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return bytes_


def checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 of a header and of the names, dtypes, shapes and bytes of tensors, in hexadecimal.

    The order of the tensors, their device and their strides do not count.

    Args:
        header: the text as it is written to a file.
        tensors: by name; of an array, `torch.from_numpy`.
    """

    def parts() -> Iterator[str | bytes | Tensor]:
        yield f"{len(header)} "
        yield header.encode("utf-8", "surrogatepass")
        for name in sorted(tensors):
            yield json.dumps([name, str(tensors[name].dtype), list(tensors[name].shape)])
            yield tensors[name]

    return digest(parts())
