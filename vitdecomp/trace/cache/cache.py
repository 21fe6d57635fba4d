"""A folder of linear paths: what was found for a model's structure is found again for other weights of it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from vitdecomp._utils.files import cache_directory
from vitdecomp._utils.tensor_cache import TensorCache
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp.trace.cache.plain import SCHEMA, Kept, found_again, plain, revived, same_graph
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.paths import LinearPaths

SUFFIX = ".paths.safetensors"
FORMAT = TensorFormat("vitdecomp.paths", "linear paths", Kept, (SCHEMA,), "it is made again by the next fit")


@dataclass(frozen=True, slots=True)
class PathsCache:
    """Linear paths in a folder.

    A file is named by a checksum of the model's structure. It holds the graph and the paths as JSON, and the graph's
    constants, but no weights. Whatever is read is run beside the module, and taken only if it computes the same.
    Nothing that goes wrong with a file stops a fit: what cannot be read is found anew, what cannot be written is not.

    Attributes:
        folder: where the files are.
    """

    folder: Path

    @classmethod
    def standard(cls) -> PathsCache:
        """Return the cache in its usual place."""
        return cls(cache_directory() / "paths")

    def find(self, key: str, module: nn.Module, images: Tensor) -> LinearPaths | None:
        """Find the paths of a module of a known structure; return `None` where there is nothing that can be used."""
        with suppress(Exception):  # whatever a file that is damaged, or of another model, may lead to
            file = self._files.get(key)
            return None if file is None else found_again(file.header.paths, file.tensors, module, images)
        return None

    def find_in(self, key: str, module: nn.Module, captured: Captured) -> LinearPaths | None:
        """Other paths in a graph that is at hand."""
        with suppress(Exception):
            file = self._files.get(key)
            if file and same_graph(file.header.paths, file.tensors, captured, module):
                return revived(file.header.paths, file.tensors, list(captured.module.graph.nodes), captured)
        return None

    def keep(self, key: str, module: nn.Module, paths: LinearPaths) -> None:
        """Write paths down, if that can be done: what has no name in a file is traced anew each time."""
        with suppress(Exception):
            kept, tables = plain(paths, module)
            self._files.put(key, Kept(SCHEMA, kept), tables)

    def forget(self, keys: Iterable[str]) -> None:
        """Remove paths, if they are there."""
        self._files.remove(keys)

    @property
    def _files(self) -> TensorCache[Kept]:
        return TensorCache(self.folder, FORMAT, SUFFIX)
