"""What a cosine needs beside the product: the mean feature, and every feature's length, computed once and kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.progress import Progress
from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_cache import TensorCache
from vitdecomp._utils.tensor_file import TensorFormat
from vitdecomp._utils.tolerance import check_varies
from vitdecomp.errors import InputError
from vitdecomp.retrieval.view import View, project, total
from vitdecomp.sources.source import Columns, scan

SUFFIX = ".lengths.safetensors"
SCHEMA = 3  # of these files
FORMAT = TensorFormat("vitdecomp.lengths", "lengths", Versioned, (SCHEMA,), "they are measured again")


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """The features of all images, in what a cosine needs of them.

    Attributes:
        means: of the coefficients of each component, `(r,)`; zero if features are not centered.
        offset: what is left to add to sum_i (a_i - mean_i) M_i, `(m,)`: the view's constant, or zero if centered.
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
            InputError: NaN or infinity among the coefficients, or features that are centered and all alike.
        """
        n = len(source)
        zeros = tuple(torch.zeros(len(m), dtype=view.dtype) for m in view.maps)
        means = _means(source, view, block) if center else zeros
        offset = torch.zeros_like(view.constant) if center else view.constant
        thin = not bool(offset.any())
        factors = view.factors() if thin else view.maps
        values = torch.empty(n, dtype=view.dtype)
        for read in scan(source, view.components, block):
            rows, features = read.rows, project(view, read, means, factors)
            values[rows.start : rows.stop] = (features if thin else features + offset).norm(dim=1)
            if progress is not None:
                progress(rows.stop, n)
        _check(values, source, view)
        lengths = cls(means, offset, values)
        if center and n > 1:
            check_varies(float(values.norm()) / n**0.5, float(lengths.mean(view).norm()), view.dtype, "the features")
        return lengths


@dataclass(slots=True)
class Keeper:
    """Remembers lengths, in memory and in a folder if there is one.

    A file is named by a checksum of the source, of the components, of where their maps lead, and of the setting. So
    neither other images nor other maps can be taken for the same.

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
    _source: str | None = field(default=None, repr=False)

    def of(self, view: View, progress: Progress | None = None) -> Lengths:
        """The lengths of a view's features, computed only if nobody did before.

        Raises:
            InputError: NaN or infinity among the coefficients.
        """
        key = view.fingerprint()
        if key not in self._known:
            self._known[key] = self._stored(key, view, progress)
        return self._known[key]

    def _stored(self, key: str, view: View, progress: Progress | None) -> Lengths:
        """Read the lengths from the folder, or measure them and write them to it."""
        if self.folder is None:
            return self._measured(view, progress)
        if self._source is None:  # of a store it takes a look at every row
            self._source = self.source.fingerprint()
        cache = TensorCache.in_folder(self.folder, FORMAT, SUFFIX)
        name = digest([f"{SCHEMA} {self._source} {key} {self.center}"])[:32]
        found = _read(cache, name, view, len(self.source))
        if found is None:
            found = self._measured(view, progress)
            _write(cache, name, found)
        return found

    def _measured(self, view: View, progress: Progress | None) -> Lengths:
        return Lengths.measure(self.source, view, center=self.center, block=self.block, progress=progress)


def _means(source: Columns, view: View, block: int) -> tuple[Tensor, ...]:
    """Each component's mean coefficients; the sums of blocks are added in float64."""
    sums = [torch.zeros(len(m), dtype=torch.float64) for m in view.maps]
    for read in scan(source, view.components, block):
        for so_far, some in zip(sums, total(view, read), strict=True):
            so_far.add_(some)
    return tuple((found / len(source)).to(view.dtype) for found in sums)


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


def _read(cache: TensorCache[Versioned], key: str, view: View, n: int) -> Lengths | None:
    """Read lengths; `None` if there are none of use."""
    file = cache.get(key)
    if file is None:
        return None
    wanted: dict[str, tuple[int, ...]] = {f"mean.{i}": (len(m),) for i, m in enumerate(view.maps)}
    wanted |= {"offset": tuple(view.constant.shape), "values": (n,)}
    if {name: tuple(tensor.shape) for name, tensor in file.tensors.items()} != wanted:
        return None
    means = tuple(file.tensors[f"mean.{i}"] for i in range(len(view.maps)))
    return Lengths(means, file.tensors["offset"], file.tensors["values"])


def _write(cache: TensorCache[Versioned], key: str, lengths: Lengths) -> None:
    means = {f"mean.{i}": mean for i, mean in enumerate(lengths.means)}
    cache.put(key, Versioned(SCHEMA), {**means, "offset": lengths.offset, "values": lengths.values})
