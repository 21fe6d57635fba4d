"""Text vectors on disk, found again by all that they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.files import make_directory
from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.models.adapter import LoadedModel
from vitdecomp.models.preprocessing import describe
from vitdecomp.provenance import weights_checksum

SCHEMA = 2  # part of every key: another recipe for the vectors needs another number
FORMAT = TensorFormat("vitdecomp.texts", "vectors of texts", Versioned, (SCHEMA,), "they are computed again")


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
        FORMAT.write(path, Versioned(SCHEMA), {"vectors": vectors})
        return vectors

    def key(self, texts: Sequence[str], templates: Sequence[str] | None) -> str:
        """A checksum of the model, its weights, the texts and the templates."""
        whole = json.dumps([*self.model, list(texts), templates and list(templates)])
        return hashlib.sha256(whole.encode()).hexdigest()


def _read(path: Path, n: int) -> Tensor | None:
    """The vectors in a file, if there is one that is as it was written; others are only computed again."""
    file = FORMAT.find(path)
    vectors = None if file is None else file.tensors.get("vectors")
    return vectors if vectors is not None and vectors.ndim == 2 and len(vectors) == n else None
