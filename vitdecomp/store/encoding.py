"""How one component's contributions are written: in a basis of their own, rounded, with the error known.

A basis only ever grows by further columns, and a number format only ever gets wider. So coefficients that are written
already are carried over to a later encoding by zeros behind them: nothing is rounded twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from vitdecomp.errors import InexactError, InputError

FORMATS = ("float16", "float32", "float64")
TOP = 256.0  # what the largest coefficient of the first images is scaled to; float16 ends at 65504
FEW = 128  # fewer images than this do not show that a component has full rank
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, slots=True)
class Precision:
    """What is promised of what is read back.

    Attributes:
        promise: largest |read - contribution| / |contribution| of a component for an image.
        outside: how much of a contribution, relative to it, may lie outside the basis.
        basis: number format of bases.
    """

    promise: float
    outside: float
    basis: str


PRECISIONS: Mapping[str, Precision] = {
    "float16": Precision(5e-4, 1e-4, "float32"),  # float16 rounds by 2^-11 = 4.9e-4 at most
    "float32": Precision(2e-6, 1e-6, "float32"),
    "float64": Precision(1e-12, 1e-13, "float64"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """Contributions as they are written.

    Attributes:
        stored: numbers in the encoding's format.
        loss: |read - contribution| / |contribution| of each image.
        outside: the part of it that lies outside the basis.
    """

    stored: Float[np.ndarray, "n r"]
    loss: Float[np.ndarray, " n"]
    outside: Float[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """Contribution = scale * stored numbers * transposed basis.

    Attributes:
        dimension: d.
        basis: orthonormal columns; `None` where the numbers are the contributions themselves.
        format: of the stored numbers.
        scale: brings them into the range of the format.
        fixed: every image has the same numbers, `TOP` in each column of the basis, and they are not stored at all.
        generation: how many encodings the component had before.
    """

    dimension: int
    basis: Float[np.ndarray, "d r"] | None
    format: str
    scale: float = 1.0
    fixed: bool = False
    generation: int = 0

    @property
    def width(self) -> int:
        """Numbers for an image."""
        return self.dimension if self.basis is None else int(self.basis.shape[1])

    def held(self, n: int) -> Float[np.ndarray, "n r"]:
        """Return the numbers of n images, of a fixed component."""
        return np.full((n, self.width), TOP, dtype=self.format)

    def code(self, values: Float[np.ndarray, "n d"]) -> Coded:
        """Contributions in this encoding, and what it loses of them; `values` are float64."""
        length = np.linalg.norm(values, axis=1).clip(TINY)
        coefficients = values if self.basis is None else values @ self.basis.astype(np.float64)
        outside = np.linalg.norm(values - self._expanded(coefficients), axis=1) / length
        with np.errstate(over="ignore"):  # seen as a loss
            stored = self.held(len(values)) if self.fixed else (coefficients / self.scale).astype(self.format)
        with np.errstate(over="ignore", invalid="ignore"):
            read = self._expanded(self.coefficients(stored).astype(np.float64))
            loss = np.linalg.norm(read - values, axis=1) / length
        return Coded(stored, loss, outside)

    def holds(self, coded: Coded, precision: Precision) -> bool:
        """Check whether what is promised is kept for these images."""
        allowed = precision.outside if self.fixed else precision.promise
        return bool((coded.loss <= allowed).all() and (coded.outside <= precision.outside).all())

    def coefficients(self, stored: Float[np.ndarray, "n r"]) -> Float[np.ndarray, "n r"]:
        """Coordinates in the basis, in float32 or what is wider."""
        wide = stored.astype(np.promote_types(self.format, np.float32))
        return wide if self.scale == 1 else wide * wide.dtype.type(self.scale)

    def carried(self, stored: Float[np.ndarray, "n _"]) -> Float[np.ndarray, "n r"]:
        """Numbers of an earlier encoding of this component in this one; exact."""
        wide = np.zeros((len(stored), self.width), dtype=self.format)
        wide[:, : stored.shape[1]] = stored
        return wide

    def _expanded(self, coefficients: Float[np.ndarray, "n r"]) -> Float[np.ndarray, "n d"]:
        return coefficients if self.basis is None else coefficients @ self.basis.astype(np.float64).T


def first_encoding(values: Float[np.ndarray, "n d"], precision: str) -> Encoding:
    """Find the encoding of a component from the contributions to the first images.

    A component that spans few dimensions gets a basis of them; one that spans most is written as it is; one that is the
    same for all images is written once.

    Raises:
        InputError: contributions that are not finite.
    """
    check_finite(values)
    kept, d = PRECISIONS[precision], values.shape[1]
    directions = _directions(_unit(values), kept.outside)
    rank, seen = directions.shape[1], len(values)
    basis = None if 2 * rank > d or (seen >= FEW and 4 * rank > 3 * seen) else directions.astype(kept.basis)
    largest = float(np.abs(values if basis is None else values @ basis).max(initial=0.0))
    scale = 2.0 ** np.ceil(np.log2(largest)) / TOP if precision == "float16" and largest > 0 else 1.0
    found = Encoding(d, basis, precision, float(scale))
    constant = _constant(values, found, kept)
    candidates = [constant, *_formats(found), Encoding(d, None, FORMATS[-1])]
    return _first_that_holds(candidates, values, kept)


def fitting(encoding: Encoding, values: Float[np.ndarray, "n d"], precision: str) -> Encoding:
    """Return the encoding itself if it is good enough for more images, or the next one.

    Raises:
        InputError: contributions that are not finite.
        InexactError: no encoding that carries on the earlier one keeps the promise.
    """
    check_finite(values)
    kept = PRECISIONS[precision]
    coded = encoding.code(values)
    if encoding.holds(coded, kept):
        return encoding
    grown = replace(_grown(encoding, values, kept), fixed=False, generation=encoding.generation + 1)
    if encoding.width == 0 and precision == "float16":
        grown = replace(grown, scale=first_encoding(values, precision).scale)
    return _first_that_holds(_formats(grown), values, kept)


def _formats(encoding: Encoding) -> list[Encoding]:
    """List the encoding in its format, and in those that are wider."""
    return [replace(encoding, format=wider) for wider in FORMATS[FORMATS.index(encoding.format) :]]


def _first_that_holds(candidates: list[Encoding], values: Float[np.ndarray, "n d"], precision: Precision) -> Encoding:
    for candidate in candidates:
        if candidate.holds(candidate.code(values), precision):
            return candidate
    lost = float(candidates[-1].code(values).loss.max())
    raise InexactError(f"contributions cannot be written with a loss of {precision.promise:.0e}, but of {lost:.0e}")


def check_finite(values: Float[np.ndarray, "n d"]) -> None:
    """Raise `InputError` unless all contributions are finite."""
    if not np.isfinite(values).all():
        raise InputError("contributions contain NaN or infinity")


def _constant(values: Float[np.ndarray, "n d"], found: Encoding, precision: Precision) -> Encoding:
    """Encode a component that gives every image what it gives the first."""
    length = float(np.linalg.norm(values[0]))
    basis = values[:1].T / length if length > 0 else np.zeros((found.dimension, 0))
    return replace(found, basis=basis.astype(precision.basis), scale=(length or 1.0) / TOP, fixed=True)


def _grown(encoding: Encoding, values: Float[np.ndarray, "n d"], precision: Precision) -> Encoding:
    """Add so many columns to the encoding that they span these contributions too."""
    if encoding.basis is None:
        return encoding
    d, old = encoding.dimension, encoding.basis.astype(np.float64)
    further = _directions(_unit(values) - (_unit(values) @ old) @ old.T, precision.outside / 2)
    further = further - old @ (old.T @ further)
    basis = np.hstack([old, _orthonormal(further)])
    if 2 * basis.shape[1] > d:
        basis = np.hstack([old, _completed(old)])
    return replace(encoding, basis=np.hstack([encoding.basis, basis[:, old.shape[1] :].astype(encoding.basis.dtype)]))


def _unit(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of length 1, so that a faint image counts as much as a strong one; zeros stay."""
    unit: Float[np.ndarray, "n d"] = values / np.linalg.norm(values, axis=1, keepdims=True).clip(TINY)
    return unit


def _directions(rows: Float[np.ndarray, "n d"], tolerance: float) -> Float[np.ndarray, "d r"]:
    """Orthonormal columns that span all rows up to a rest of this length, as few as pivoting finds."""
    import scipy.linalg

    factors: Any = scipy.linalg.qr(rows.T, mode="economic", pivoting=True)
    q, r, _ = factors
    rest = np.sqrt(np.cumsum(r[::-1] ** 2, axis=0)[::-1])  # (k, n): what the first k columns leave of each row
    rank = int((rest.max(axis=1, initial=0.0) > tolerance / 2).sum())
    directions: Float[np.ndarray, "d r"] = q[:, :rank]
    return directions


def _orthonormal(columns: Float[np.ndarray, "d r"]) -> Float[np.ndarray, "d r"]:
    q: Float[np.ndarray, "d r"] = np.linalg.qr(columns)[0]
    return q


def _completed(basis: Float[np.ndarray, "d r"]) -> Float[np.ndarray, "d _"]:
    """Orthonormal columns for all that a basis leaves out."""
    q, _ = np.linalg.qr(basis, mode="complete")
    return q[:, basis.shape[1] :]
