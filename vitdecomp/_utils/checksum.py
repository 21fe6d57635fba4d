"""The one checksum of what vitdecomp keeps: a header and named tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor


def checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over a header and the names, dtypes, shapes and bytes of tensors, in hexadecimal.

    The order of the tensors, their device and their strides do not count.

    Args:
        header: the text as it is kept.
        tensors: by name; of an array, `torch.from_numpy`.
    """
    digest = hashlib.sha256(f"{len(header)} ".encode() + header.encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
