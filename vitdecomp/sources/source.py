"""What contributions are read from, a few images or a few components at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions


@runtime_checkable
class Source(Protocol):
    """Contributions that are taken a few images at a time: `Contributions` in memory, or a `Store` on disk."""

    @property
    def components(self) -> tuple[Component, ...]:
        """The component axis."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a contribution."""
        ...

    def fingerprint(self) -> str:
        """Compute a checksum that is the same only for the same contributions of the same images."""
        ...

    def __len__(self) -> int:
        """Count the images."""
        ...

    def take(self, rows: Sequence[int]) -> Contributions:
        """Take the contributions of some images, in the order asked for."""
        ...


@runtime_checkable
class Columns(Source, Protocol):
    """A source that is read a few components at a time too, each in coordinates of its own.

    A component's contributions are its coefficients times the transposed basis: a head of width 64 never leaves 64
    dimensions.
    """

    def basis(self, component: Component) -> Float[Tensor, "d r"] | None:
        """Orthonormal columns that span a component's contributions; `None` where the coefficients are these."""
        ...

    def coefficients(self, component: Component, rows: range) -> Float[Tensor, "n r"]:
        """Read a component's coefficients for consecutive images; nothing else is read."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Coefficients of some components for consecutive images, as they are kept.

    Attributes:
        rows: which images. parts: numbers of each component, `(n, r)`, in any format.
        scales: a component's coefficients are its numbers times this.
    """

    rows: range
    parts: tuple[Float[Tensor, "n _"], ...]
    scales: tuple[float, ...]


@runtime_checkable
class Scanned(Columns, Protocol):
    """A source that is read fastest from its first image to its last, several components at once."""

    def scan(self, components: Sequence[Component], size: int, rows: range | None = None) -> Iterator[Block]:
        """Yield coefficients of some components for all images in order, or for consecutive ones, some at a time."""
        ...


def scan(source: Columns, components: Sequence[Component], size: int) -> Iterator[Block]:
    """Yield the coefficients of some components for all images in order, so many at a time or fewer."""
    if isinstance(source, Scanned):
        yield from source.scan(components, size)
        return
    for start in range(0, len(source), size):
        yield block(source, components, range(start, min(start + size, len(source))))


def block(source: Columns, components: Sequence[Component], rows: range) -> Block:
    """Read the coefficients of some components for some consecutive images."""
    parts = tuple(source.coefficients(component, rows) for component in components)
    return Block(rows, parts, (1.0,) * len(parts))
