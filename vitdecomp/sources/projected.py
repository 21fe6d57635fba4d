"""Contributions along a few directions: from a store without writing them out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.errors import SpecError
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.aligner import Aligner
from vitdecomp.sources.source import Scanned, Source

NUMBERS = 2**22  # that are written out together


@dataclass(frozen=True, slots=True, eq=False)
class Projected:
    """Projections <u_j, c_i> of every contribution on some directions, in float64.

    Of a store the coefficients are read, and the directions are pulled back to them: <u, a B^T W> = <B^T W u, a>.
    What cannot be read so is written out and projected.

    Attributes:
        source: contributions.
        directions: rows u_j, `(r, d)`.
        size: images that are written out at a time.
    """

    source: Source
    directions: Float64[Tensor, "r d"]
    size: int = 64

    def scan(self) -> Iterator[tuple[range, Float64[Tensor, "n component r"]]]:
        """Yield the projections of all images in order, some images at a time."""
        found = _pulled_back(self.source, self.directions)
        if found is None:
            yield from self._written_out()
            return
        scanned, maps, added = found
        size = max(self.size, NUMBERS // max(1, (len(maps) + len(added)) * len(self.directions)))
        for block in scanned.scan(scanned.components, min(size, len(scanned))):
            n = len(block.rows)
            x = torch.empty(n, len(maps) + len(added), len(self.directions), dtype=torch.float64)
            for i, (numbers, scale, matrix) in enumerate(zip(block.parts, block.scales, maps, strict=True)):
                x[:, i] = numbers.double() @ (matrix * scale)
            x[:, len(maps) :] = added
            yield block.rows, x

    def _written_out(self) -> Iterator[tuple[range, Float64[Tensor, "n component r"]]]:
        n = len(self.source)
        for start in range(0, n, self.size):
            rows = range(start, min(start + self.size, n))
            values = self.source.take(rows).values.detach().to("cpu", torch.float64)
            yield rows, values @ self.directions.T


Maps = tuple[Float64[Tensor, "_ r"], ...]


def _pulled_back(source: Source, directions: Float64[Tensor, "r d"]) -> tuple[Scanned, Maps, Tensor] | None:
    """Find what is scanned, the map of each component, and what an aligner adds; `None` if it has no linear maps."""
    aligned = source if isinstance(source, Aligned) else None
    scanned = source if aligned is None else aligned.source
    if not isinstance(scanned, Scanned) or not scanned.components:
        return None
    aligner = None if aligned is None else aligned.aligner
    try:
        maps = tuple(_map_of(scanned, component, aligner) @ directions.T for component in scanned.components)
    except SpecError:
        return None
    added = directions.new_zeros(0, len(directions))
    if aligned is not None:
        added = aligned.first.values[0, len(maps) :].detach().to("cpu", torch.float64) @ directions.T
    return scanned, maps, added


def _map_of(source: Scanned, component: Component, aligner: Aligner | None) -> Float[Tensor, "r d"]:
    """From a component's coefficients to the space: B^T W."""
    basis = source.basis(component)
    if aligner is not None:
        return aligner.restricted(component, basis).detach().to("cpu", torch.float64)
    return torch.eye(source.dimension, dtype=torch.float64) if basis is None else basis.double().T
