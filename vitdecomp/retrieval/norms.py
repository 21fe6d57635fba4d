"""What a cosine needs beside the product: the mean feature, and every feature's norm, computed once and cached.

Where features are smaller than the coefficients that they are made of, they are cached too, and nothing of the source
is read for the next search.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
SCHEMA = 4  # of these files
WRITTEN = 2**27  # bytes of features of all images that are written out for one choice of components
HELD = 2**29  # bytes of features that are kept in memory, of all choices
CACHED = 2**30  # bytes of the folder
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

    def of(self, view: FeatureView, key: str, progress: Progress | None = None) -> Norms:
        """Return the norms of a view's features, computed only once.

        Args:
            view: of the components.
            key: its fingerprint.
            progress: called with the images done and their number.

        Raises:
            InputError: NaN or infinity among the coefficients.
            OutputError: they cannot be written to a folder that the user named.
        """
        found = self._known.pop(key, None)
        self._known[key] = self._stored(key, view, progress) if found is None else found
        self._forget()
        return self._known[key]

    def _forget(self) -> None:
        """Let the features go that were asked for longest ago, where all of them are too many; norms stay."""
        held = 0
        for key, norms in reversed(list(self._known.items())):
            held += 0 if norms.features is None else norms.features.nbytes
            if held > HELD:
                self._known[key] = replace(norms, features=None)

    def _stored(self, key: str, view: FeatureView, progress: Progress | None) -> Norms:
        """Read the norms from the folder, or compute them and write them to it."""
        if self.folder is None:
            return measure(self.source, view, center=self.center, block=self.block, progress=progress)
        if self._source is None:  # of a store it takes a look at every row
            self._source = self.source.fingerprint()
        cache = TensorCache.in_folder(self.folder, FORMAT, SUFFIX, CACHED)
        name = digest([f"{SCHEMA} {self._source} {key} {self.center}"])[:32]
        found = _read(cache.get(name), view, len(self.source))
        if found is None:
            found = measure(self.source, view, center=self.center, block=self.block, progress=progress)
            tensors = {f"mean.{i}": mean for i, mean in enumerate(found.means)}
            tensors |= {} if found.features is None else {"features": found.features}
            cache.put(name, Versioned(SCHEMA), {**tensors, "offset": found.offset, "values": found.values})
        return found


def measure(source: Columns, view: FeatureView, *, center: bool, block: int, progress: Progress | None = None) -> Norms:
    """Read the components of a view once, and once more for the means if features are not written out.

    Raises:
        InputError: NaN or infinity among the coefficients, or features that are centered and all alike.
    """
    n = len(source)
    written = view.width <= sum(map(len, view.maps)) and n * view.width * view.dtype.itemsize <= WRITTEN
    norms = (_written_out if written else _in_two_passes)(source, view, center, block, progress)
    _check(norms.values, source, view)
    if center and n > 1:
        mean = view.with_norms(norms).mean()
        check_varies(float(norms.values.norm()) / n**0.5, float(mean.norm()), view.dtype, "the features")
    return norms


def _written_out(
    source: Columns, view: FeatureView, center: bool, block: int, progress: Progress | None = None
) -> Norms:
    """Write the features out; the mean of the first images is subtracted at once, so that no digits are lost."""
    n, near = len(source), tuple(torch.zeros(len(m), dtype=view.dtype) for m in view.maps)
    sums = [torch.zeros(len(m), dtype=torch.float64) for m in view.maps]
    features = torch.empty(n, view.width, dtype=view.dtype)
    for read in scan(source, view.stored, block):
        some = total(read, view.dtype) if center else ()
        if center and not read.rows.start:
            near = tuple(found / len(read.rows) for found in some)
        for so_far, found in zip(sums, some, strict=False):
            so_far.add_(found)
        features[read.rows.start : read.rows.stop] = project(read, near, view.maps)
        if progress is not None:
            progress(read.rows.stop, n)
    features += -features.double().mean(0).to(view.dtype) if center else view.constant
    means = tuple((found / n).to(view.dtype) for found in sums)
    return Norms(means, torch.zeros_like(view.constant) if center else view.constant, features.norm(dim=1), features)


def _in_two_passes(
    source: Columns, view: FeatureView, center: bool, block: int, progress: Progress | None = None
) -> Norms:
    """Compute |f_n - mean|^2 = (a_n - mean)^T G (a_n - mean) with G = M M^T, which is factored once."""
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
    return Norms(means, offset, values)


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
    if "features" in file.tensors:
        expected["features"] = (n, view.width)
    if {name: tuple(tensor.shape) for name, tensor in file.tensors.items()} != expected:
        return None
    means = tuple(file.tensors[f"mean.{i}"] for i in range(len(view.maps)))
    features = file.tensors.get("features")
    if features is not None:  # in memory of its own, products are rounded as when they were written
        features = features.clone()
    return Norms(means, file.tensors["offset"], file.tensors["values"], features)
