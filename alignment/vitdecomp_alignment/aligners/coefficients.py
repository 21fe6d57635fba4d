"""A source's coefficients of all components side by side: read in order, kept in memory if they are few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp._utils.progress import Progress
from vitdecomp.contributions import Contributions
from vitdecomp.sources.source import Block, Scanned, Source

HELD = 2**31  # bytes of coefficients that are kept in memory
BLOCK = 512  # images read at a time
GAP = 64  # images that are read though nobody asked for them, rather than beginning anew


class Coefficients:
    """Coefficients a of all components, `(n, R)`; a component contributes a B^T, with its own columns B.

    A store is read in the bases in which it is written, and nothing is expanded to the representation's dimension. Of
    any other source the coefficients are the contributions.

    Args:
        source: contributions.

    Attributes:
        bases: orthonormal columns B of each component, `(d, r)`; `None` where the coefficients are the contributions.
        dtype: of the coefficients, float32 or float64. own_dtype: of the contributions.
        widths: r of each component. width: R, their sum. starts: where each begins, with R behind the last.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.dimension = source, source.dimension
        self.own_dtype = source.take(range(1)).values.dtype
        self.dtype = torch.promote_types(self.own_dtype, torch.float32)
        scanned = source if isinstance(source, Scanned) else None
        self._scanned = scanned
        self.bases: tuple[Tensor | None, ...] = tuple(
            None if scanned is None else scanned.basis(component) for component in source.components
        )
        self.widths = tuple(self.dimension if basis is None else basis.shape[1] for basis in self.bases)
        self.starts = np.cumsum([0, *self.widths])
        self.width = int(self.starts[-1])
        self._held: Tensor | None = None
        self._runs = tuple(self._alike())

    def __len__(self) -> int:
        """Count the images."""
        return len(self.source)

    @property
    def fit_in_memory(self) -> bool:
        """Whether all of them are few enough to be kept."""
        return isinstance(self.source, Contributions) or len(self) * self.width * self.dtype.itemsize <= HELD

    def hold(self, progress: Progress | None = None) -> None:
        """Read all of them once and keep them; contributions in memory stay where they are."""
        if self._held is not None:
            return
        if isinstance(self.source, Contributions):
            self._held = self.source.values.cpu().to(self.dtype).flatten(1)
            return
        held = torch.empty(len(self), self.width, dtype=self.dtype)
        for rows, found in self.scan():
            held[rows.start : rows.stop] = found
            if progress is not None:
                progress(rows.stop, len(self))
        self._held = held

    def scan(self, size: int = BLOCK, rows: range | None = None) -> Iterator[tuple[range, Float[Tensor, "n R"]]]:
        """Those of all images in order, or of consecutive ones, at most so many images at a time."""
        rows = range(len(self)) if rows is None else rows
        if self._held is None and self._scanned is not None:
            for block in self._scanned.scan(self.source.components, size, rows):
                yield block.rows, self._joined(block)
            return
        for start in range(rows.start, rows.stop, size):
            some = range(start, min(start + size, rows.stop))
            yield some, self._some(some)

    def take(self, rows: Sequence[int] | np.ndarray) -> Float[Tensor, "n R"]:
        """Those of some images, in the order asked for."""
        if self._held is not None or self._scanned is None:
            return self._some(rows)
        wanted = np.asarray(rows)
        order = np.argsort(wanted, kind="stable")
        found = torch.empty(len(wanted), self.width, dtype=self.dtype)
        for places in _runs(wanted[order]):
            first, last = int(wanted[order[places[0]]]), int(wanted[order[places[-1]]])
            read = torch.cat([part for _, part in self.scan(rows=range(first, last + 1))])
            found[order[places]] = read[wanted[order[places]] - first]
        return found

    def sample(self, n: int, seed: int) -> Iterator[tuple[Sequence[int], Float[Tensor, "_ R"]]]:
        """Those of n images, or of all if they are fewer; a store's images are taken in blocks, for speed."""
        if self._scanned is None:
            chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:n]).tolist()
            for i in range(0, len(chosen), BLOCK):
                yield chosen[i : i + BLOCK], self._some(chosen[i : i + BLOCK])
            return
        blocks = np.random.default_rng(seed).permutation(-(-len(self) // BLOCK))[: -(-n // BLOCK)]
        for block in np.sort(blocks).tolist():
            rows = range(block * BLOCK, min((block + 1) * BLOCK, len(self)))
            yield from self.scan(rows=rows)

    def total(self, a: Float[Tensor, "n R"]) -> Float[Tensor, "n d"]:
        """Sum the contributions."""
        found = a.new_zeros(len(a), self.dimension)
        for start, stop, bases in self._runs:
            part = a[:, start:stop]
            found += part.reshape(len(a), -1, self.dimension).sum(1) if bases is None else part @ bases
        return found

    def _alike(self) -> Iterator[tuple[int, int, Float[Tensor, "_ d"] | None]]:
        """Neighbours on the component axis with bases, one below the other, and neighbours without."""
        for based, some in groupby(range(len(self.bases)), lambda i: self.bases[i] is not None):
            run = list(some)
            bases = [basis.T.to(self.dtype) for i in run if (basis := self.bases[i]) is not None]
            yield int(self.starts[run[0]]), int(self.starts[run[-1] + 1]), torch.cat(bases) if based else None

    def _some(self, rows: Sequence[int] | np.ndarray) -> Float[Tensor, "n R"]:
        chosen = rows if isinstance(rows, range) and rows.step == 1 else np.asarray(rows, dtype=np.int64)
        if self._held is None:
            read = self.source.take(chosen if isinstance(chosen, range) else chosen.tolist())
            return read.values.cpu().to(self.dtype).flatten(1)
        return self._held[slice(chosen.start, chosen.stop) if isinstance(chosen, range) else torch.from_numpy(chosen)]

    def _joined(self, block: Block) -> Float[Tensor, "n R"]:
        found = torch.empty(len(block.rows), self.width, dtype=self.dtype)
        for i, (part, scale) in enumerate(zip(block.parts, block.scales, strict=True)):
            torch.mul(part.to(self.dtype), scale, out=found[:, self.starts[i] : self.starts[i + 1]])
        return found


def _runs(rows: Int64[np.ndarray, " n"]) -> list[Int64[np.ndarray, " _"]]:
    """Places of numbers in rising order, cut where there are wide gaps."""
    cuts = np.flatnonzero(np.diff(rows) > GAP) + 1
    return np.split(np.arange(len(rows)), cuts)
