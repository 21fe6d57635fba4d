"""The directions in which a feature is looked for, made of the vectors of its texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import InputError, SpecError

LEAST = 1e-6  # of the longest vector: what is left of another one when it is a combination of those before it
Centre = Callable[[Float64[Tensor, "t r"], Float64[Tensor, " r"]], Float64[Tensor, "t r"]]


def gram_schmidt(vectors: Float64[Tensor, "t r"]) -> Float64[Tensor, "k r"]:
    """Orthonormal rows: each vector without what those before it span, in the order of the vectors."""
    smallest = LEAST * float(vectors.norm(dim=1).max())
    rows = vectors.new_zeros(0, vectors.shape[1])
    for vector in vectors:
        rest = vector
        for _ in range(2):  # once more takes away what rounding left
            rest = rest - rows.T @ (rows @ rest)
        if float(rest.norm()) > smallest:
            rows = torch.cat([rows, (rest / rest.norm())[None]])
    return rows


CENTERS: Mapping[str, Centre] = MappingProxyType(
    {
        "none": lambda vectors, pool: vectors,
        "feature": lambda vectors, pool: vectors - vectors.mean(0),
        "pool": lambda vectors, pool: vectors - pool,
    }
)


@dataclass(frozen=True, slots=True)
class Directions:
    """Texts of several features, in coordinates of what all of them span.

    Attributes:
        span: orthonormal rows, `(r, d)`.
        words: the texts of each feature, `(t, r)`.
        controls: texts of no feature, `(m, r)`.
        center: a name in `CENTERS`.
    """

    span: Float64[Tensor, "r d"]
    words: Mapping[str, Float64[Tensor, "_ r"]]
    controls: Float64[Tensor, "m r"]
    center: str

    @classmethod
    def of(cls, texts: Mapping[str, Tensor], controls: Tensor | None, center: str) -> Directions:
        """From the vectors of texts, which were checked.

        Raises:
            InputError: nothing is left of a feature's texts.
        """
        parts = [vectors.detach().to("cpu", torch.float64) for vectors in texts.values()]
        others = parts[0][:0] if controls is None else controls.detach().to("cpu", torch.float64)
        every = torch.cat([*parts, others])
        _, sizes, vh = torch.linalg.svd(every, full_matrices=False)
        span = vh[sizes > LEAST * float(sizes.max())]
        coordinates = [part @ span.T for part in parts]
        found = cls(span, dict(zip(texts, coordinates, strict=True)), others @ span.T, center)
        for name, vectors in found.words.items():
            if not bool((CENTERS[center](vectors, found.mean).norm(dim=1) > LEAST * float(sizes.max())).any()):
                raise InputError(
                    f"feature {name!r}: nothing is left of its {len(vectors)} text(s) after centering: give texts that "
                    "differ, or center='none'"
                )
        return found

    @property
    def everything(self) -> Float64[Tensor, "t r"]:
        """All texts, feature after feature, and the controls."""
        return torch.cat([*self.words.values(), self.controls])

    @property
    def mean(self) -> Float64[Tensor, " r"]:
        """The mean of all texts."""
        return self.everything.mean(0)

    def rows(self, vectors: Float64[Tensor, "t r"]) -> Float64[Tensor, "k r"]:
        """Return the directions that some texts give."""
        return gram_schmidt(CENTERS[self.center](vectors, self.mean))

    def bases(self) -> dict[str, Float64[Tensor, "_ r"]]:
        """Those of every feature."""
        return {name: self.rows(vectors) for name, vectors in self.words.items()}


def check_choice(noun: str, name: str, known: Mapping[str, object]) -> None:
    """Raise `SpecError` for a name that is not in a table."""
    if name not in known:
        raise SpecError(f"{noun} cannot be {name!r}{did_you_mean(str(name), known)}")


def check_texts(texts: Any, d: int) -> None:
    """Raise `InputError` unless every feature has finite vectors of length d."""
    if not isinstance(texts, Mapping) or not texts:
        raise InputError("no features: give the vectors of some texts for each, {name: (t, d)}")
    for name, vectors in texts.items():
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or not len(vectors) or vectors.shape[1] != d:
            got = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise InputError(f"feature {name!r} needs the vectors of some texts, (t, {d}) as the contributions: {got}")
        if not bool(vectors.isfinite().all()) or not bool(vectors.any(1).all()):
            raise InputError(f"the texts of feature {name!r} hold NaN, infinity or a vector of zeros")
