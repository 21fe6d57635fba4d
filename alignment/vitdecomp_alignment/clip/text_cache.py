"""Text vectors on disk, found again by all that they depend on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_cache import TensorCache
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.models.adapter import LoadedModel
from vitdecomp.models.preprocessing import describe
from vitdecomp.provenance import weights_checksum

SCHEMA = 2  # part of every key: another recipe for the vectors needs another number
SUFFIX, MAX_BYTES = ".safetensors", 2**30  # of the files, and of the folder
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
        """Read the vectors of some texts, or compute and write them if there are none or their file is damaged.

        Raises:
            OutputError: they cannot be written to a folder that the user named.
        """
        cache, key = TensorCache.in_folder(self.folder, FORMAT, SUFFIX, MAX_BYTES), self.key(texts, templates)
        file = cache.get(key)
        known = None if file is None else file.tensors.get("vectors")
        if known is not None and known.ndim == 2 and len(known) == len(texts):
            return known
        vectors = compute()
        cache.put(key, Versioned(SCHEMA), {"vectors": vectors})
        return vectors

    def key(self, texts: Sequence[str], templates: Sequence[str] | None) -> str:
        """Compute a checksum of the model, its weights, the texts and the templates."""
        whole = json.dumps([*self.model, list(texts), templates and list(templates)])
        return digest([whole])
