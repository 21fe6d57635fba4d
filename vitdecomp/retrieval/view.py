"""What some components say together of every image, read without ever writing it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp.component import Component
from vitdecomp.retrieval.space import Space
from vitdecomp.sources.source import Block, Columns

CHUNK = 2**15  # numbers that are converted together; torch begins to divide work among threads only above


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The images' features f_n = sum_i a_ni M_i + constant, where a_ni are a component's coefficients for an image.

    M_i = B_i^T W_i T: the component's basis, its map into the space, and the directions that are looked at there.

    Attributes:
        components: those that the source holds coefficients of.
        maps: M_i of each, `(r, m)`.
        constant: what is the same for every image, `(m,)`.
        directions: T, orthonormal columns `(d, m)`, or a projection `(d, d)`; `None` is the whole space.
    """

    components: tuple[Component, ...]
    maps: tuple[Float[Tensor, "_ m"], ...]
    constant: Float[Tensor, " m"]
    directions: Float[Tensor, "d m"] | None = None

    @classmethod
    def of(cls, space: Space, components: Sequence[Component], directions: Tensor | None = None) -> View:
        """Some components' view of a source.

        Raises:
            SpecError: the aligner is not linear.
        """
        dtype = precision(space.source)
        directions = None if directions is None else directions.to(dtype)
        added = [v for v in map(space.added, components) if v is not None]
        own = tuple(c for c in components if space.added(c) is None)
        constant = torch.stack(added).sum(0).to(dtype) if added else torch.zeros(space.dimension, dtype=dtype)
        maps = (space.map_of(c).to(dtype) for c in own)
        if directions is None:
            return cls(own, tuple(maps), constant)
        return cls(own, tuple(m @ directions for m in maps), constant @ directions, directions)

    @property
    def width(self) -> int:
        """Length of a feature."""
        return len(self.constant)

    @property
    def dtype(self) -> torch.dtype:
        """The number format that everything is computed in."""
        return self.constant.dtype

    def looked_at(self, vectors: Float[Tensor, "query d"]) -> Float[Tensor, "query m"]:
        """Vectors of the space as this view sees them."""
        return vectors.to(self.dtype) if self.directions is None else vectors.to(self.dtype) @ self.directions

    def pull(self, queries: Float[Tensor, "query m"]) -> tuple[Float[Tensor, "_ query"], ...]:
        """Queries in the components' own coordinates: M_i q, so that <q, a M> = <M q, a>."""
        return tuple(m @ queries.T for m in self.maps)

    def factors(self) -> tuple[Float[Tensor, "_ s"], ...]:
        """L_i with L L^T = M M^T and no more columns than rows or columns of M: |a L| = |a M| for less work."""
        stacked = torch.cat(self.maps)
        if len(stacked) > self.width:
            return self.maps
        values, vectors = torch.linalg.eigh(stacked.double() @ stacked.double().T)
        root = vectors * values.clamp(min=0).sqrt()
        return tuple(root.to(self.dtype).split([len(m) for m in self.maps]))

    def fingerprint(self) -> str:
        """A checksum of the components, and of where their maps lead."""
        return digest([repr((self.components, self.width, self.dtype)), *self.maps, self.constant])


def project(
    view: View,
    block: Block,
    means: Sequence[Float[Tensor, " _"]],
    onto: Sequence[Float[Tensor, "_ q"]],
) -> Float[Tensor, "n q"]:
    """sum_i (a_i - mean_i) P_i of consecutive images, for a matrix P_i of every component."""
    found = torch.zeros(len(block.rows), onto[0].shape[1], dtype=view.dtype)
    for numbers, scale, mean, matrix in zip(block.parts, block.scales, means, onto, strict=True):
        mean_number = mean / scale
        for some, own in pieces(numbers, view.dtype):
            found[some.start : some.stop].addmm_(own.sub_(mean_number), matrix, alpha=scale)
    return found


def total(view: View, block: Block) -> tuple[Float[Tensor, " _"], ...]:
    """sum_n a_ni of consecutive images, for every component."""
    sums = tuple(torch.zeros(1, numbers.shape[1], dtype=view.dtype) for numbers in block.parts)
    for numbers, scale, found in zip(block.parts, block.scales, sums, strict=True):
        for some, own in pieces(numbers, view.dtype):
            found.addmm_(torch.ones(1, len(some), dtype=view.dtype), own, alpha=scale)
    return tuple(found[0] for found in sums)


def pieces(numbers: Float[Tensor, "n r"], dtype: torch.dtype) -> Iterator[tuple[range, Float[Tensor, "_ r"]]]:
    """A few rows at a time, converted, all in one place that stays in the processor's cache.

    What a search takes is mostly the time for new memory, otherwise.
    """
    n, width = numbers.shape
    size = max(1, min(CHUNK // max(1, width), n))
    place = torch.empty(size, width, dtype=dtype)
    for some in blocks(n, size):
        yield some, place[: len(some)].copy_(numbers[some.start : some.stop])


def precision(source: Columns) -> torch.dtype:
    """float64 where the source is, else float32."""
    return torch.promote_types(source.coefficients(source.components[0], range(1)).dtype, torch.float32)


def blocks(n: int, size: int) -> Iterator[range]:
    """Rows, some at a time."""
    return (range(start, min(start + size, n)) for start in range(0, n, size))
