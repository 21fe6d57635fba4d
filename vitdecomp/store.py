"""Contributions on disk, read a few images at a time; `vitdecomp extract` writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError
from vitdecomp.manifest import Manifest, Shard


class Store:
    """The contributions of a folder of images, in the order of the images.

    Nothing but the rows that are asked for is read into memory.

    Args:
        folder: what `vitdecomp extract` wrote.

    Raises:
        InputError: there is no extraction, or an unfinished or damaged one.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        manifest = Manifest.read(self.folder) if self.folder.is_dir() else None
        if manifest is None:
            raise InputError(f"there are no contributions in {self.folder}: make them with `vitdecomp extract`")
        if not manifest.complete:
            raise InputError(f"the extraction in {self.folder} is not finished: run the same command again")
        self.manifest = manifest
        self._files = [_open(self.folder, shard) for shard in manifest.done]
        self._starts = np.cumsum([0, *(shard.rows for shard in manifest.done)])
        self.rows = tuple(int(row) for file in self._files for row in file.get_tensor("rows"))

    @property
    def components(self) -> tuple[Component, ...]:
        """The component axis."""
        return self.manifest.components

    @property
    def dimension(self) -> int:
        """Length of a contribution."""
        return self.manifest.dimension

    @property
    def paths(self) -> tuple[Path, ...]:
        """The images, one for each row."""
        return tuple(Path(self.manifest.root, self.manifest.images[row]) for row in self.rows)

    def fingerprint(self) -> str:
        """A checksum of the files."""
        return hashlib.sha256(" ".join(shard.sha256 for shard in self.manifest.done).encode()).hexdigest()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)

    def take(self, rows: Sequence[int]) -> Contributions:
        """The contributions of some images, in the order asked for.

        Raises:
            InputError: there are not so many images.
        """
        if len(rows) and not 0 <= min(rows) <= max(rows) < len(self):
            raise InputError(f"rows {min(rows)} to {max(rows)} asked for, of {len(self)} in {self.folder}")
        shape = (len(rows), len(self.components), self.dimension)
        values = torch.empty(shape, dtype=getattr(torch, self.manifest.dtype))
        error = torch.empty(len(rows), dtype=torch.float64)
        for place, row in enumerate(rows):
            shard = int(np.searchsorted(self._starts, row, side="right")) - 1
            at = row - int(self._starts[shard])
            values[place], error[place] = (self._files[shard].get_slice(key)[at] for key in ("values", "error"))
        return Contributions(values, self.components, error, origin=self.manifest.origin)

    def batches(self, size: int) -> Iterator[Contributions]:
        """All contributions in order, some images at a time."""
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))


def _open(folder: Path, shard: Shard) -> Any:
    """An open file with the tensors that it should hold."""
    path = folder / shard.file
    try:
        file: Any = safe_open(path, framework="pt")
        shapes = [file.get_slice(key).get_shape()[0] for key in ("values", "error", "rows")]
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged ({error}): run the same `vitdecomp extract` again") from error
    if set(shapes) != {shard.rows}:
        raise InputError(f"{path} holds {shapes[0]} images instead of {shard.rows}: run `vitdecomp extract` again")
    return file
