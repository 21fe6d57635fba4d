"""Text vectors on disk, found again by all that they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vitdecomp.adapter import LoadedModel
from vitdecomp.files import atomic, make_directory
from vitdecomp.images import describe
from vitdecomp.origin import weights_checksum

SCHEMA = 1  # part of every key: another recipe for the vectors needs another number


class TextCache:
    """A folder with one file for each list of texts of each model.

    Args:
        folder: made when the first file is written.
        loaded: the model, with the weights that it has now.
    """

    def __init__(self, folder: Path, loaded: LoadedModel) -> None:
        self.folder = folder
        # The printed module tells apart what equal weights do not, such as the two kinds of GELU.
        self.model = (SCHEMA, loaded.spec, describe(loaded.module), weights_checksum(loaded.module))

    def get(
        self, texts: Sequence[str], templates: Sequence[str] | None, compute: Callable[[], Float[Tensor, "n d"]]
    ) -> Float[Tensor, "n d"]:
        """The vectors of some texts: read, or computed and written if there are none or their file is damaged.

        Raises:
            OutputError: they cannot be written.
        """
        path = self.folder / f"{self.key(texts, templates)}.safetensors"
        kept = _read(path, len(texts))
        if kept is not None:
            return kept
        vectors = compute()
        make_directory(self.folder)
        with atomic(path) as partial:
            partial.write_bytes(save({"vectors": vectors.cpu().contiguous(), "sha256": _digest(vectors)}))
        return vectors

    def key(self, texts: Sequence[str], templates: Sequence[str] | None) -> str:
        """A checksum of the model, its weights, the texts and the templates."""
        whole = json.dumps([*self.model, list(texts), templates and list(templates)])
        return hashlib.sha256(whole.encode()).hexdigest()


def _read(path: Path, n: int) -> Tensor | None:
    """The vectors in a file, if they are as they were written."""
    try:
        kept = load(path.read_bytes())
    except (OSError, SafetensorError):
        return None
    vectors, digest = kept.get("vectors"), kept.get("sha256")
    if vectors is None or digest is None or not torch.equal(digest, _digest(vectors)):
        return None
    return vectors if len(vectors) == n else None


def _digest(vectors: Tensor) -> Tensor:
    """A checksum of the numbers and their shape, `(32,)`."""
    content = vectors.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    whole = hashlib.sha256(f"{tuple(vectors.shape)} {vectors.dtype};".encode() + content)
    return torch.tensor(list(whole.digest()), dtype=torch.uint8)
