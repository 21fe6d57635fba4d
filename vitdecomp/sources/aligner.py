"""What an alignment plugin answers: how to take contributions into the space of another model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.registry import Registry
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import SpecError
from vitdecomp.sources.source import Source


class Aligner(ABC):
    """Takes the contributions of a model into the space of another, such as CLIP's. See docs/how-to/aligner.md.

    Whatever `fit` learns stands in attributes that end in `_`, and only there.
    """

    @abstractmethod
    def fit(self, source: Source, target: Tensor) -> Any:
        """Learn from contributions and from the other model's vectors of the same images, `(n, d_clip)`.

        Returns:
            Itself.

        Raises:
            InputError: they are not of the same images, or there are too few.
        """

    @abstractmethod
    def transform(self, c: Contributions) -> Contributions:
        """Map contributions into the other model's space, `(n, component, d_clip)`.

        Raises:
            InputError: the components are not those of `fit`.
            SpecError: not fitted yet.
        """

    def restricted(self, component: Component, basis: Float[Tensor, "d r"] | None = None) -> Float[Tensor, "r d_clip"]:
        """Restrict the map W of one component to its own coordinates a: B^T W takes them where W takes c = a B^T.

        Retrieval needs it, to pull a query back instead of mapping every image. An aligner that is not linear has none.

        Args:
            component: one of those of `fit`.
            basis: orthonormal columns B that span its contributions; `None` gives W itself.

        Raises:
            SpecError: the aligner is not linear, not fitted yet, or was not fitted to the component.
        """
        raise SpecError(f"{type(self).__name__} has no linear map of {component}: its images cannot be searched")


ALIGNERS: Registry[str, type[Aligner]] = Registry("aligner", "vitdecomp.aligners")
A = TypeVar("A", bound=type[Aligner])


def register_aligner(name: str, *, replace: bool = False) -> Callable[[A], A]:
    """Class decorator: make an aligner known by a name, as in `vitdecomp align --method NAME`.

    Raises:
        SpecError: the name is taken and `replace` is not set.
    """

    def decorate(aligner: A) -> A:
        ALIGNERS.add(name, aligner, replace=replace)
        return aligner

    return decorate


def aligners() -> Registry[str, type[Aligner]]:
    """Return all aligners, those of installed plugins included."""
    return ALIGNERS.load_plugins()
