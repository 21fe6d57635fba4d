"""Contributions of a folder of images on disk: `manifest.json` beside `shard-00000.safetensors`, ...

Each file is written whole or not at all, and the manifest lists a shard only when it is there, so that a run
which is killed at any instant goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError
from vitdecomp.files import atomic, make_directory
from vitdecomp.images import Preprocess, as_tensor, open_image
from vitdecomp.manifest import Manifest, Shard
from vitdecomp.prepare import Ready
from vitdecomp.progress import Progress

Split = Callable[[Tensor], Contributions]


@dataclass(frozen=True, slots=True)
class Loading:
    """How images are read.

    Attributes:
        batch_size: images that are decomposed together.
        workers: processes that read images; 0 reads them in this one.
        skip_unreadable: leave out what cannot be read, and say so in the manifest, instead of stopping.
    """

    batch_size: int = 32
    workers: int = 0
    skip_unreadable: bool = False


def write_shards(
    split: Split,
    manifest: Manifest,
    out: Path,
    *,
    ready: Ready,
    loading: Loading | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write the contributions of all images that the manifest lists and that are not done yet.

    Args:
        split: images to their contributions, of the components, dimension and dtype of the manifest.
        manifest: what is to be written.
        out: the folder.
        ready: the model, for its preprocessing and place.
        loading: how images are read.
        progress: called with the images done and their number.

    A shard holds `values` `(n, component, d)`, `error` `(n,)` and `rows` `(n,)`, places in the manifest.

    Returns:
        The manifest with all shards.

    Raises:
        InputError: an image cannot be read; its shard is not written.
        InexactError: a sum misses its representation.
        OutputError: a file cannot be written.
    """
    make_directory(out)
    manifest = manifest.verified(out)
    manifest.write(out)
    loading = loading or Loading()
    done = sum(shard.images for shard in manifest.done)
    nothing = _nothing(manifest)
    for index, batches in _by_shard(manifest, ready.preprocess, loading):
        pieces = [nothing]
        skipped: list[int] = []
        for batch in batches:
            skipped += _refuse_unreadable(batch, loading)
            if batch.pixels is not None:
                pieces.append(_decompose(split, batch, batch.pixels.to(ready.device, ready.dtype)))
            done += len(batch.rows) + len(batch.unreadable)
            if progress is not None:
                progress(done, len(manifest.images))
        manifest = manifest.with_shard(_write_shard(out, index, pieces, skipped))
        manifest.write(out)
    return manifest


@dataclass(frozen=True, slots=True)
class _Batch:
    """Images that were read: their rows and pixels, and what could not be read, with the reason."""

    rows: tuple[int, ...]
    pixels: Tensor | None
    unreadable: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Contributions of one batch."""

    rows: tuple[int, ...]
    values: Tensor
    error: Tensor


class _Images(Dataset[tuple[int, Tensor | str]]):
    """Row of the manifest -> preprocessed image, or the reason why there is none."""

    def __init__(self, root: Path, names: tuple[str, ...], preprocess: Preprocess) -> None:
        self.root, self.names, self.preprocess = root, names, preprocess

    def __getitem__(self, row: int) -> tuple[int, Tensor | str]:
        try:
            image = open_image(self.root / self.names[row])
        except InputError as error:
            return row, str(error)
        return row, as_tensor(self.preprocess, image)

    def __len__(self) -> int:
        return len(self.names)


def _collate(items: list[tuple[int, Tensor | str]]) -> _Batch:
    good = [(row, x) for row, x in items if isinstance(x, Tensor)]
    bad = tuple((row, x) for row, x in items if isinstance(x, str))
    pixels = torch.stack([x for _, x in good]) if good else None
    return _Batch(tuple(row for row, _ in good), pixels, bad)


def _by_shard(manifest: Manifest, preprocess: Preprocess, loading: Loading) -> Iterator[tuple[int, Iterator[_Batch]]]:
    """The batches of every shard that is missing. One loader for all keeps its workers busy across shards."""
    shards = [(index, rows) for index, rows in manifest.planned() if index not in {s.index for s in manifest.done}]
    size = loading.batch_size
    plan = [list(rows[i : i + size]) for _, rows in shards for i in range(0, len(rows), size)]
    loader: DataLoader[tuple[int, Tensor | str]] = DataLoader(
        _Images(Path(manifest.root), manifest.images, preprocess),
        batch_sampler=plan,
        num_workers=loading.workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # the workers' seeds must not come out of the global random state
    )
    batches = iter(loader)
    for index, rows in shards:
        yield index, (next(batches) for _ in range(0, len(rows), size))


def _refuse_unreadable(batch: _Batch, loading: Loading) -> list[int]:
    if batch.unreadable and not loading.skip_unreadable:
        raise InputError(f"{batch.unreadable[0][1]} (--skip-unreadable leaves such files out)")
    return [row for row, _ in batch.unreadable]


def _decompose(split: Split, batch: _Batch, pixels: Tensor) -> _Piece:
    c = split(pixels)
    return _Piece(batch.rows, c.values.cpu(), c.error.cpu())


def _nothing(manifest: Manifest) -> _Piece:
    """The contributions of no image, so that a shard whose files were all skipped has its tensors too."""
    shape, dtype = (0, len(manifest.components), manifest.dimension), getattr(torch, manifest.dtype)
    return _Piece((), torch.zeros(shape, dtype=dtype), torch.zeros(0, dtype=torch.float64))


def _write_shard(out: Path, index: int, pieces: list[_Piece], skipped: list[int]) -> Shard:
    name = f"shard-{index:05d}.safetensors"
    rows = tuple(row for piece in pieces for row in piece.rows)
    error = torch.cat([piece.error for piece in pieces])
    tensors = {
        "values": torch.cat([piece.values for piece in pieces]),
        "error": error,
        "rows": torch.tensor(rows, dtype=torch.int64),
    }
    with atomic(out / name) as partial:
        partial.write_bytes(save(tensors))  # save_file would make a file that its owner alone can read
    worst = float(error.max()) if rows else 0.0
    return Shard.of(out / name, index=index, rows=len(rows), skipped=tuple(skipped), error=worst)
