"""What a cosine needs beside the product: the mean feature, and every feature's norm, computed once and cached."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from vitdecomp._utils.checksum import digest
from vitdecomp._utils.progress import Progress
from vitdecomp._utils.schema import Versioned
from vitdecomp._utils.tensor_cache import TensorCache
from vitdecomp._utils.tensor_file import TensorFile, TensorFormat
from vitdecomp._utils.tolerance import check_varies
from vitdecomp.errors import InputError
from vitdecomp.retrieval.feature_view import FeatureView, Norms, project, total
from vitdecomp.sources.source import Columns, scan

SUFFIX = ".lengths.safetensors"  # files that exist are found by it
SCHEMA = 3  # of these files
FORMAT = TensorFormat("vitdecomp.lengths", "norms", Versioned, (SCHEMA,), "they are computed again")


@dataclass(slots=True)
class NormCache:
    """Cache norms in memory, and in a folder if there is one.

    A file is named by a checksum of the source, of the components, of where their maps lead, and of the setting. So
    neither other images nor other maps can be taken for the same.

    Attributes:
        source: whose images. center: whether the mean is subtracted.
        folder: of the files; the memory alone if `None`.
        block: images read at a time.
    """

    source: Columns
    center: bool
    folder: Path | None
    block: int
    _known: dict[str, Norms] = field(default_factory=dict, repr=False)
    _source: str | None = field(default=None, repr=False)

    def of(self, view: FeatureView, progress: Progress | None = None) -> Norms:
        """Return the norms of a view's features, computed only once.

        Raises:
            InputError: NaN or infinity among the coefficients.
            OutputError: they cannot be written to a folder that the user named.
        """
        key = view.fingerprint()
        if key not in self._known:
            self._known[key] = self._stored(key, view, progress)
        return self._known[key]

    def _stored(self, key: str, view: FeatureView, progress: Progress | None) -> Norms:
        """Read the norms from the folder, or compute them and write them to it."""
        if self.folder is None:
            return measure(self.source, view, center=self.center, block=self.block, progress=progress)
        if self._source is None:  # of a store it takes a look at every row
            self._source = self.source.fingerprint()
        cache = TensorCache.in_folder(self.folder, FORMAT, SUFFIX)
        name = digest([f"{SCHEMA} {self._source} {key} {self.center}"])[:32]
        found = _read(cache.get(name), view, len(self.source))
        if found is None:
            found = measure(self.source, view, center=self.center, block=self.block, progress=progress)
            means = {f"mean.{i}": mean for i, mean in enumerate(found.means)}
            cache.put(name, Versioned(SCHEMA), {**means, "offset": found.offset, "values": found.values})
        return found


def measure(source: Columns, view: FeatureView, *, center: bool, block: int, progress: Progress | None = None) -> Norms:
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
    for read in scan(source, view.stored, block):
        rows, features = read.rows, project(read, means, factors)
        values[rows.start : rows.stop] = (features if thin else features + offset).norm(dim=1)
        if progress is not None:
            progress(rows.stop, n)
    _check(values, source, view)
    norms = Norms(means, offset, values)
    if center and n > 1:
        mean = view.with_norms(norms).mean()
        check_varies(float(values.norm()) / n**0.5, float(mean.norm()), view.dtype, "the features")
    return norms


def _means(source: Columns, view: FeatureView, block: int) -> tuple[Tensor, ...]:
    """Compute each component's mean coefficients; the sums of blocks are added in float64."""
    sums = [torch.zeros(len(m), dtype=torch.float64) for m in view.maps]
    for read in scan(source, view.stored, block):
        for so_far, some in zip(sums, total(read, view.dtype), strict=True):
            so_far.add_(some)
    return tuple((found / len(source)).to(view.dtype) for found in sums)


def _check(values: Tensor, source: Columns, view: FeatureView) -> None:
    """Raise `InputError` naming the first image, and the component, that spoils a norm."""
    if bool(values.isfinite().all()):
        return
    for row in torch.nonzero(~values.isfinite())[:, 0].tolist():
        for component in view.stored:
            if not bool(source.coefficients(component, range(row, row + 1)).isfinite().all()):
                raise InputError(f"NaN or infinity in {component} of image {row}: extract it again")
    spoiled = [c.name for c, m in zip(view.stored, view.maps, strict=True) if not bool(m.isfinite().all())]
    raise InputError(f"NaN or infinity in {', '.join(spoiled[:3]) or 'the sum of the components'}")


def _read(file: TensorFile[Versioned] | None, view: FeatureView, n: int) -> Norms | None:
    """Take norms from a file; `None` if there are none that fit the view."""
    if file is None:
        return None
    expected: dict[str, tuple[int, ...]] = {f"mean.{i}": (len(m),) for i, m in enumerate(view.maps)}
    expected |= {"offset": tuple(view.constant.shape), "values": (n,)}
    if {name: tuple(tensor.shape) for name, tensor in file.tensors.items()} != expected:
        return None
    means = tuple(file.tensors[f"mean.{i}"] for i in range(len(view.maps)))
    return Norms(means, file.tensors["offset"], file.tensors["values"])
