"""What contributions are read from, a few images or a few components at a time."""

from __future__ import annotations

from collections.abc import Sequence
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
        """A checksum that is the same only for the same contributions of the same images."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def take(self, rows: Sequence[int]) -> Contributions:
        """The contributions of some images, in the order asked for."""
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
        """A component's coefficients for consecutive images; nothing else is read."""
        ...
