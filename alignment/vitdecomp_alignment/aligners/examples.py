"""Images that maps are learned from, in batches, and those that the maps are judged on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp.distributed.process_group import Ranks
from vitdecomp_alignment.aligners.basis_change import BasisChanges
from vitdecomp_alignment.aligners.coefficients import BLOCK, Coefficients

JUDGED = 8192  # images held out at most
CHUNK = 256  # images judged at a time
WINDOW = 2**30  # bytes of coefficients that are shuffled together when not all are kept in memory
Batch = tuple[Sequence[Float[Tensor, "n _"]], Float[Tensor, "n d_clip"]]


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """Say which images come when.

    Attributes:
        batch_size: images in a step. held_out: share of the images that are not learned from.
        shuffle: take the images in another order in every epoch. seed: of that order, and of what is held out.
    """

    batch_size: int
    held_out: float
    shuffle: bool
    seed: int

    def split(self, n: int) -> tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"]]:
        """Places of the images to learn from and of those held out, each in order."""
        held_out = min(round(n * self.held_out), JUDGED)
        drawn = np.random.default_rng([self.seed, 0]).permutation(n)
        return np.sort(drawn[held_out:]), np.sort(drawn[:held_out])


class Examples:
    """Coordinates and targets of images; the batches depend on the seed and the step alone.

    Coefficients that fit in memory are read once, and shuffled all together. Others are read in every epoch, a window
    of blocks at a time: the blocks are shuffled, and then the images of each window.

    Args:
        kept: coefficients of all components. coordinates: what takes them to the maps' coordinates.
        target: the other model's vectors. order: which images come when.
    """

    def __init__(
        self, kept: Coefficients, coordinates: BasisChanges, target: Float[Tensor, "n d_clip"], order: BatchOrder
    ) -> None:
        self.kept, self.coordinates, self.target, self.order = kept, coordinates, target.cpu().to(kept.dtype), order
        self.learned, self.held_out = order.split(len(kept))
        self.per_epoch = -(-len(self.learned) // order.batch_size)
        self._epoch, self._rows = -1, self.learned
        self._window, self._read = -1, torch.zeros(())
        self._judged: Tensor | None = None

    def batch(self, step: int, ranks: Ranks) -> Batch:
        """Return this process's share of the images of a step."""
        rows = self.rows(step)
        share = slice(ranks.rank, None, ranks.world_size)
        own = rows[share]
        a = self.kept.take(own) if self.kept.fit_in_memory else self._from_window(step, len(rows))[share]
        return self.coordinates(a), self.target[torch.from_numpy(own)]

    def rows(self, step: int) -> Int64[np.ndarray, " n"]:
        """Return which images these are."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._rows, self._window = epoch, self._ordered(epoch), -1
        return self._rows[place * self.order.batch_size :][: self.order.batch_size]

    def judged(self, ranks: Ranks) -> Iterator[Batch]:
        """Yield this process's share of the images held out, some at a time."""
        if self._judged is None:
            self._judged = self.kept.take(self.held_out)
        goal = self.target[torch.from_numpy(self.held_out)]
        for start in ranks.shard(range(0, len(self.held_out), CHUNK)):
            yield self.coordinates(self._judged[start : start + CHUNK]), goal[start : start + CHUNK]

    def _ordered(self, epoch: int) -> Int64[np.ndarray, " n"]:
        if not self.order.shuffle:
            return self.learned
        generator = np.random.default_rng([self.order.seed, 1, epoch])
        if self.kept.fit_in_memory:
            return generator.permutation(self.learned)
        blocks = np.split(self.learned, range(BLOCK, len(self.learned), BLOCK))
        arranged = np.concatenate([blocks[i] for i in generator.permutation(len(blocks))])
        return np.concatenate([generator.permutation(arranged[i : i + self.window]) for i in self._starts()])

    @property
    def window(self) -> int:
        """Images that are shuffled together when not all are kept in memory: whole batches."""
        fit = WINDOW // (self.kept.width * self.kept.dtype.itemsize)
        return max(1, fit // self.order.batch_size) * self.order.batch_size

    def _starts(self) -> range:
        return range(0, len(self.learned), self.window)

    def _from_window(self, step: int, n: int) -> Float[Tensor, "n R"]:
        place = step % self.per_epoch * self.order.batch_size
        window, start = divmod(place, self.window)
        if window != self._window:
            self._read = self.kept.take(self._rows[window * self.window :][: self.window])
            self._window = window
        return self._read[start : start + n]
