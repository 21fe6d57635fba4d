"""Where retrieval compares images: the model's own space, or the one that an aligner takes contributions to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.component import Component, matching
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError
from vitdecomp.sources.aligner import Aligner
from vitdecomp.sources.source import Columns


@dataclass(frozen=True, slots=True)
class Space:
    """A source's contributions, and the linear map of each of its components.

    Attributes:
        source: contributions. aligner: takes them to another space; `None` stays in the model's own.
        components: those of the source, and the constants that the aligner adds to the sum.
        dimension: length of a contribution there.
    """

    source: Columns
    aligner: Aligner | None = None
    components: tuple[Component, ...] = field(init=False)
    dimension: int = field(init=False)
    _added: dict[Component, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Look at one image; the aligner refuses contributions that it was not fitted to."""
        if not len(self.source):
            raise InputError("there are no images to search")
        seen = self.seen(self.source.take([0]))
        own = len(self.source.components)
        object.__setattr__(self, "components", seen.components)
        object.__setattr__(self, "dimension", seen.dimension)
        added = {c: seen.values[0, i].cpu() for i, c in enumerate(seen.components) if i >= own}
        object.__setattr__(self, "_added", added)

    def seen(self, c: Contributions) -> Contributions:
        """Contributions as they are in this space."""
        return c if self.aligner is None else self.aligner.transform(c)

    def added(self, component: Component) -> Tensor | None:
        """Return what the aligner adds to every image, if the component stands for that; else `None`."""
        return self._added.get(component)

    def map_of(self, component: Component) -> Float[Tensor, "r d"]:
        """From a component's coefficients in the source to this space: B^T W.

        Raises:
            SpecError: the aligner is not linear.
        """
        basis = self.source.basis(component)
        if self.aligner is not None:
            return self.aligner.restricted(component, basis).cpu()
        return torch.eye(self.dimension) if basis is None else basis.T

    def named(self, patterns: str | Sequence[str]) -> tuple[Component, ...]:
        """Return the components that match one of some patterns, in their order.

        Raises:
            SpecError: a pattern that none matches.
        """
        return matching(self.components, patterns)
