"""Some images of a source, whose coefficients are held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.progress import Progress
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.sources.source import Block, Columns, Scanned, block
from vitdecomp.sources.wrapped import WrappedSource


@dataclass(frozen=True, slots=True)
class Held(WrappedSource):
    """A source that has only some images of another one, read once; in the bases in which that one is written.

    Attributes:
        held: coefficients of each component, `(n, r)`, in float32 or what is wider.
    """

    source: Columns
    held: tuple[Float[Tensor, "n _"], ...]
    _places: dict[Component, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find components by their places."""
        object.__setattr__(self, "_places", {component: i for i, component in enumerate(self.source.components)})

    @classmethod
    def of(cls, source: Columns, runs: Sequence[range], progress: Progress | None = None) -> Held:
        """Read runs of consecutive images.

        Args:
            source: contributions, by columns.
            runs: which images.
            progress: called with the runs done and their number.

        Raises:
            InputError: there are not so many images.
        """
        read: list[list[Tensor]] = [[] for _ in source.components]
        for done, rows in enumerate(runs):
            for found in _scanned(source, rows):
                for so_far, part, scale in zip(read, found.parts, found.scales, strict=True):
                    so_far.append(part.to(torch.promote_types(part.dtype, torch.float32)) * scale)
            if progress is not None:
                progress(done + 1, len(runs))
        return cls(source, tuple(torch.cat(parts) for parts in read))

    def mean(self) -> Held:
        """Return one image, whose contributions are the means of all: whatever is linear takes it to their means."""
        means = (each.double().mean(0, keepdim=True).to(each.dtype) for each in self.held)
        return Held(self.source, tuple(means))

    def settings(self) -> object:
        """Return a checksum of the coefficients."""
        return digest(self.held)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.held[0])

    def basis(self, component: Component) -> Float[Tensor, "d r"] | None:
        """Return the source's orthonormal columns of a component."""
        return self.source.basis(component)

    def coefficients(self, component: Component, rows: range) -> Float[Tensor, "n r"]:
        """Return a component's coefficients for consecutive images."""
        return self.held[self._places[component]][rows.start : rows.stop]

    def scan(self, components: Sequence[Component], size: int, rows: range | None = None) -> Iterator[Block]:
        """Yield coefficients of some components for all images in order, or for consecutive ones, some at a time."""
        rows = range(len(self)) if rows is None else rows
        for start in range(rows.start, rows.stop, size):
            yield block(self, components, range(start, min(start + size, rows.stop)))

    def take(self, rows: Sequence[int]) -> Contributions:
        """Take the contributions of some images, in the order asked for; how exact they are is told by the source."""
        first, places = self.source.take(range(1)), torch.as_tensor(list(rows), dtype=torch.long)
        values = first.values.new_empty(len(places), len(self.held), self.dimension)
        for i, (component, each) in enumerate(zip(self.components, self.held, strict=True)):
            basis = self.basis(component)
            values[:, i] = each[places] if basis is None else each[places] @ basis.to(each).T
        error = torch.zeros(len(places), dtype=first.error.dtype)
        return Contributions(values, self.components, error, origin=first.origin)


def _scanned(source: Columns, rows: range) -> Iterator[Block]:
    if isinstance(source, Scanned):
        yield from source.scan(source.components, max(1, len(rows)), rows)
    else:
        yield block(source, source.components, rows)
