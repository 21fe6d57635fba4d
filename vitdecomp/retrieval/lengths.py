"""What a cosine needs beside the product: the mean feature, and every feature's length, computed once and kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vitdecomp.errors import InputError
from vitdecomp.files import atomic, make_directory
from vitdecomp.progress import Progress
from vitdecomp.retrieval.view import View, blocks, project
from vitdecomp.source import Columns

SUFFIX = ".lengths.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """The features of all images, in what a cosine needs of them.

    Attributes:
        means: of the coefficients of each component, `(r,)`; zero if features are not centred.
        offset: what is left to add to sum_i (a_i - mean_i) M_i, `(m,)`: the view's constant, or zero if centred.
        values: |f_n - mean|, `(n,)`.
    """

    means: tuple[Float[Tensor, " _"], ...]
    offset: Float[Tensor, " m"]
    values: Float[Tensor, " n"]

    def mean(self, view: View) -> Float[Tensor, " m"]:
        """What is taken off every feature."""
        parts = (a @ m for a, m in zip(self.means, view.maps, strict=True))
        return sum(parts, view.constant - self.offset)

    @classmethod
    def measure(
        cls, source: Columns, view: View, *, center: bool, block: int, progress: Progress | None = None
    ) -> Lengths:
        """Read the components of a view once, and once more before that for the means.

        |f_n - mean|^2 = (a_n - mean)^T G (a_n - mean) with G = M M^T, which is factored once.

        Raises:
            InputError: NaN or infinity among the coefficients.
        """
        n = len(source)
        means = tuple(
            _mean(source, view, i, block) if center else torch.zeros(len(m), dtype=view.dtype)
            for i, m in enumerate(view.maps)
        )
        offset = torch.zeros_like(view.constant) if center else view.constant
        thin = not bool(offset.any())
        factors = view.factors() if thin else view.maps
        values = torch.empty(n, dtype=view.dtype)
        for rows in blocks(n, block):
            features = project(view, source, rows, means, factors)
            values[rows.start : rows.stop] = (features if thin else features + offset).norm(dim=1)
            if progress is not None:
                progress(rows.stop, n)
        _check(values, source, view)
        return cls(means, offset, values)


@dataclass(slots=True)
class Keeper:
    """Remembers lengths, in memory and in a folder if there is one.

    Attributes:
        source: whose images. center: whether the mean is taken off.
        folder: where files are kept; the memory alone if `None`.
        block: images read at a time.
    """

    source: Columns
    center: bool
    folder: Path | None
    block: int
    _known: dict[str, Lengths] = field(default_factory=dict, repr=False)

    def of(self, view: View, progress: Progress | None = None) -> Lengths:
        """The lengths of a view's features, computed only if nobody did before.

        Raises:
            InputError: NaN or infinity among the coefficients.
            OutputError: they cannot be kept in the folder.
        """
        key = view.fingerprint()
        if key not in self._known:
            path = self._path(key)
            found = None if path is None else _read(path, view, len(self.source))
            if found is None:
                found = Lengths.measure(self.source, view, center=self.center, block=self.block, progress=progress)
                if path is not None:
                    _write(path, found)
            self._known[key] = found
        return self._known[key]

    def _path(self, key: str) -> Path | None:
        if self.folder is None:
            return None
        told = f"{self.source.fingerprint()} {key} {self.center}"
        return self.folder / (hashlib.sha256(told.encode()).hexdigest()[:32] + SUFFIX)


def _mean(source: Columns, view: View, place: int, block: int) -> Tensor:
    """A component's mean coefficients, summed in float64."""
    total, n = torch.zeros(len(view.maps[place]), dtype=torch.float64), len(source)
    for rows in blocks(n, block):
        total += source.coefficients(view.components[place], rows).sum(0, dtype=view.dtype).double()
    return (total / n).to(view.dtype)


def _check(values: Tensor, source: Columns, view: View) -> None:
    """Raise `InputError` naming the first image, and the component, that spoils a length."""
    if bool(values.isfinite().all()):
        return
    for row in torch.nonzero(~values.isfinite())[:, 0].tolist():
        for component in view.components:
            if not bool(source.coefficients(component, range(row, row + 1)).isfinite().all()):
                raise InputError(f"NaN or infinity in {component} of image {row}: extract it again")
    spoiled = [c.name for c, m in zip(view.components, view.maps, strict=True) if not bool(m.isfinite().all())]
    raise InputError(f"NaN or infinity in {', '.join(spoiled[:3]) or 'the sum of the components'}")


def _read(path: Path, view: View, n: int) -> Lengths | None:
    """What was kept; `None` if there is nothing, or nothing of use."""
    try:
        with safe_open(path, framework="pt") as file:
            means = tuple(file.get_tensor(f"mean.{i}") for i in range(len(view.maps)))
            found = Lengths(means, file.get_tensor("offset"), file.get_tensor("values"))
    except (OSError, SafetensorError):
        return None
    return found if found.values.shape == (n,) else None


def _write(path: Path, lengths: Lengths) -> None:
    make_directory(path.parent)
    means = {f"mean.{i}": mean.contiguous() for i, mean in enumerate(lengths.means)}
    with atomic(path) as partial:
        partial.write_bytes(save({**means, "offset": lengths.offset.contiguous(), "values": lengths.values}))
