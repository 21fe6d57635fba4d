"""A folder of linear paths: what was found for a model's structure is found again for other weights of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from torch import Tensor, nn

from vitdecomp._utils.files import cache_directory, make_directory
from vitdecomp._utils.tensor_file import TensorFile, TensorFormat
from vitdecomp.trace.cache.plain import SCHEMA, Kept, found_again, plain, revived, same_graph
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.paths import LinearPaths

SUFFIX, NEW = ".paths.safetensors", ".new"
FORMAT = TensorFormat("vitdecomp.paths", "linear paths", Kept, (SCHEMA,), "it is made again by the next fit")
ABANDONED = 3600  # seconds: whoever began to write a file so long ago was killed
MAX_BYTES = 2**28  # of a folder


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
        """The one in the cache's usual place."""
        return cls(cache_directory() / "paths")

    def find(self, key: str, module: nn.Module, images: Tensor) -> LinearPaths | None:
        """The paths of a module of a known structure; `None` where there is nothing that can be used."""
        with suppress(Exception):  # whatever a file that is damaged, or of another model, may lead to
            file = self._read(key)
            return found_again(file.header.paths, file.tensors, module, images)
        return None

    def find_in(self, key: str, module: nn.Module, captured: Captured) -> LinearPaths | None:
        """Other paths in a graph that is at hand."""
        with suppress(Exception):
            file = self._read(key)
            if same_graph(file.header.paths, file.tensors, captured, module):
                return revived(file.header.paths, file.tensors, list(captured.module.graph.nodes), captured)
        return None

    def keep(self, key: str, module: nn.Module, paths: LinearPaths) -> None:
        """Write paths down, if that can be done: what has no name in a file is traced anew each time."""
        with suppress(Exception):  # a full disk, no permission, no memory: the paths are there all the same
            kept, tables = plain(paths, module)
            make_directory(self.folder)
            own = self.folder / f"{uuid4().hex}{NEW}"  # several processes may write the same paths
            FORMAT.write(own, Kept(SCHEMA, kept), tables)
            own.replace(self._path(key))
            self._shrink()

    def forget(self, keys: Iterable[str]) -> None:
        """Remove paths, if they are there."""
        for key in keys:
            with suppress(OSError):
                self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / (key + SUFFIX)

    def _read(self, key: str) -> TensorFile[Kept]:
        """The contents of a file, which is marked as used."""
        path = self._path(key)
        found = FORMAT.read(path)
        with suppress(OSError):
            os.utime(path)
        return found

    def _shrink(self) -> None:
        """Remove what was not used for longest, and what was never finished."""
        for path in self.folder.glob(f"*{NEW}*"):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink(missing_ok=True)
        known = [(path.stat(), path) for path in self.folder.glob("*" + SUFFIX)]
        total = 0
        for stat, path in sorted(known, key=lambda entry: -entry[0].st_mtime):
            total += stat.st_size
            if total > MAX_BYTES:
                path.unlink(missing_ok=True)
