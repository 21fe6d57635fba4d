"""A folder of tensors that can be computed again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from uuid import uuid4

from torch import Tensor

from vitdecomp._utils.files import is_standard_cache, make_directory, writing
from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_file import TensorFile, TensorFormat

H = TypeVar("H", bound=Versioned)
NEW = ".new"  # suffix of a file that is being written
ABANDONED = 3600  # seconds after which the writer of such a file must have been killed
MAX_BYTES = 2**28  # of a folder


@dataclass(frozen=True, slots=True)
class TensorCache(Generic[H]):
    """Keep tensors with a checksum, one file for each key, and remove the least recently used ones.

    A key is a checksum of all that decides the tensors. A file that is damaged or cannot be read counts as missing.
    Processes may share a folder.

    Attributes:
        folder: of the files; made when the first one is written.
        format: of the files.
        suffix: of their names.
        max_bytes: size of the folder.
        required: whether a file that cannot be written is an error; otherwise it is not kept, and nothing stops.
    """

    folder: Path
    format: TensorFormat[H]
    suffix: str
    max_bytes: int = MAX_BYTES
    required: bool = False

    @classmethod
    def in_folder(
        cls, folder: Path, format: TensorFormat[H], suffix: str, max_bytes: int = MAX_BYTES
    ) -> TensorCache[H]:
        """Make a cache that must be written unless it is in the standard place, which the user did not name."""
        return cls(folder, format, suffix, max_bytes, required=not is_standard_cache(folder))

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.folder / (key + self.suffix)

    def get(self, key: str) -> TensorFile[H] | None:
        """Read the file of a key and mark it as used; `None` if there is none that can be used."""
        path = self.path(key)
        with suppress(Exception):  # whatever a damaged file may lead to
            found = self.format.read(path)
            with suppress(OSError):
                os.utime(path)
            return found
        return None

    def put(self, key: str, header: H, tensors: Mapping[str, Tensor]) -> None:
        """Write the file of a key, and remove old files if the folder is too large.

        Raises:
            OutputError: the cache is `required`, and the file cannot be written.
        """
        own = self.folder / f"{uuid4().hex}{NEW}"  # several processes may write the same key
        with nullcontext() if self.required else suppress(Exception):  # no space, no permission, no memory
            make_directory(self.folder)
            self.format.write(own, header, tensors)
            with writing(self.path(key)):
                own.replace(self.path(key))
        with suppress(OSError):  # another process may remove the same files
            self._shrink()

    def remove(self, keys: Iterable[str]) -> None:
        """Remove the files of some keys."""
        for key in keys:
            with suppress(OSError):
                self.path(key).unlink(missing_ok=True)

    def _shrink(self) -> None:
        """Remove the least recently used files, and those that were never finished."""
        for path in self.folder.glob(f"*{NEW}*"):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink(missing_ok=True)
        files = [(path.stat(), path) for path in self.folder.glob("*" + self.suffix)]
        total = 0
        for stat, path in sorted(files, key=lambda entry: -entry[0].st_mtime):
            total += stat.st_size
            if total > self.max_bytes:
                path.unlink(missing_ok=True)
