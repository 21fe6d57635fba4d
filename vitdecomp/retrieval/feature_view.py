"""The features that some components give every image, and queries in the same coordinates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from vitdecomp._utils.checksum import digest
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.opening import open_image
from vitdecomp.models.loaded_model import EncodeText
from vitdecomp.retrieval.query import Decompose, Query
from vitdecomp.retrieval.space import Space
from vitdecomp.sources.source import Block, Columns, block, scan

GAP, LONGEST = 8, 256  # rows between two references that are read with them; rows that are read at once
CHUNK = 2**15  # numbers that are converted together; torch begins to divide work among threads only above


@dataclass(frozen=True, slots=True, eq=False)
class Norms:
    """Means and norms of the features of all images.

    Attributes:
        means: of the coefficients of each component, `(r,)`; zero if features are not centered.
        offset: what is left to add to sum_i (a_i - mean_i) M_i, `(m,)`: the view's constant, or zero if centered.
        values: |f_n - mean|, `(n,)`.
        features: f_n - mean themselves, `(n, m)`, where they are few enough to be kept.
    """

    means: tuple[Float[Tensor, " _"], ...]
    offset: Float[Tensor, " m"]
    values: Float[Tensor, " n"]
    features: Float[Tensor, "n m"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FeatureView:
    """The images' features f_n = sum_i a_ni M_i + constant, where a_ni are a component's coefficients for an image.

    M_i = B_i^T W_i T: the component's basis, its map into the space, and the projection T. Features are written out for
    all images only where they are fewer than the coefficients; else queries are pulled back to these.

    Attributes:
        space: where images are compared.
        components: all that count, an aligner's constants too. stored: those that the source has coefficients of.
        maps: M_i of each stored component, `(r, m)`.
        constant: what is the same for every image, `(m,)`.
        projection: T, orthonormal columns `(d, m)`, or a projection `(d, d)`; `None` is the whole space.
        norms: of the features; without centering and norms before they are measured.
        text_mean: what is subtracted from the vectors of texts, `(d,)`.
        encode_text, decompose: as for `Retriever`.
    """

    space: Space
    components: tuple[Component, ...]
    stored: tuple[Component, ...]
    maps: tuple[Float[Tensor, "_ m"], ...]
    constant: Float[Tensor, " m"]
    projection: Float[Tensor, "d m"] | None
    norms: Norms
    text_mean: Float[Tensor, " d"] | None = None
    encode_text: EncodeText | None = None
    decompose: Decompose | None = None

    @classmethod
    def of(
        cls,
        space: Space,
        components: Sequence[Component],
        projection: Tensor | None = None,
        *,
        text_mean: Tensor | None = None,
        encode_text: EncodeText | None = None,
        decompose: Decompose | None = None,
    ) -> FeatureView:
        """Make the view of some components; its norms are not measured yet.

        Raises:
            SpecError: the aligner is not linear.
        """
        dtype = precision(space.source)
        added = [v for v in map(space.added, components) if v is not None]
        stored = tuple(c for c in components if space.added(c) is None)
        constant = torch.stack(added).sum(0).to(dtype) if added else torch.zeros(space.dimension, dtype=dtype)
        maps = tuple(space.map_of(c).to(dtype) for c in stored)
        if projection is not None:
            projection = projection.to(dtype)
            maps, constant = tuple(m @ projection for m in maps), constant @ projection
        norms = Norms(tuple(m.new_zeros(len(m)) for m in maps), constant, constant.new_empty(0))
        return cls(
            space, tuple(components), stored, maps, constant, projection, norms, text_mean, encode_text, decompose
        )

    def with_norms(self, norms: Norms) -> FeatureView:
        """Return the same view with measured norms."""
        return replace(self, norms=norms)

    @property
    def width(self) -> int:
        """Length of a feature."""
        return len(self.constant)

    @property
    def dtype(self) -> torch.dtype:
        """The number format that everything is computed in."""
        return self.constant.dtype

    def mean(self) -> Float[Tensor, " m"]:
        """Compute what is subtracted from every feature."""
        parts = (a @ m for a, m in zip(self.norms.means, self.maps, strict=True))
        return sum(parts, self.constant - self.norms.offset)

    def factors(self) -> tuple[Float[Tensor, "_ s"], ...]:
        """Factor L_i with L L^T = M M^T and no more columns than rows or columns of M: |a L| = |a M| for less work."""
        stacked = torch.cat(self.maps)
        if len(stacked) > self.width:
            return self.maps
        values, vectors = torch.linalg.eigh(stacked.double() @ stacked.double().T)
        root = vectors * values.clamp(min=0).sqrt()
        return tuple(root.to(self.dtype).split([len(m) for m in self.maps]))

    def fingerprint(self) -> str:
        """Compute a checksum of the components, and of where their maps lead."""
        return digest([repr((self.stored, self.width, self.dtype)), *self.maps, self.constant])

    def directions(self, queries: Sequence[Query]) -> list[Float[Tensor, "direction m"]]:
        """Encode queries as unit vectors; the largest cosine of a feature with one of them is its score.

        Raises:
            SpecError: no encoder for texts or images.
            InputError: a vector of another length, NaN, no such row, or nothing of it that the components could see.
        """
        sides = [side for query in queries for side in (query, query.against) if side is not None]
        rows = {int(image) for side in sides for image in side.images if isinstance(image, (int, np.integer))}
        known = self._features_of(rows)
        return [self._direction(query, known) for query in queries]

    def _direction(self, query: Query, known: Mapping[int, Tensor]) -> Float[Tensor, "direction m"]:
        units = self._units(query, known)
        if query.combine == "mean":
            units = units.mean(0, keepdim=True)
        if query.against is not None:
            avoided = normalize(self._units(query.against, known).mean(0), dim=0)
            units = normalize(units, dim=1) - query.weight * avoided
        return _unit(units)

    def _features_of(self, rows: Collection[int]) -> dict[int, Float[Tensor, "1 m"]]:
        """Read the features of some images of the source, those that lie close together at once."""
        n = len(self.space.source)
        for row in rows:
            if not 0 <= row < n:
                raise InputError(f"there is no row {row}: the source has {n} images")
        if (written := self.norms.features) is not None:
            return {row: written[row][None] for row in rows}
        known: dict[int, Tensor] = {}
        for some in _runs(sorted(rows)):
            found = self.features(self.block(range(some[0], some[-1] + 1)))
            known |= {row: found[row - some[0]][None] for row in some}
        return known

    def pull(self, directions: Float[Tensor, "query m"]) -> PulledDirections:
        """Pull directions back to the components' coordinates: M_i q, so that <q, a M> = <M q, a>."""
        return PulledDirections(tuple(m @ directions.T for m in self.maps), directions @ self.norms.offset)

    def scores(self, pulled: PulledDirections, images: Block) -> Float[Tensor, "query block"]:
        """Compute cosines of consecutive images' features with directions; 0 for an image without a feature."""
        found = project(images, self.norms.means, pulled.parts) + pulled.offset
        return found.T.contiguous() / self._lengths(images.rows)

    def scan_scores(
        self, directions: Float[Tensor, "query m"], size: int
    ) -> Iterator[tuple[range, Float[Tensor, "query _"]]]:
        """Compute the cosines of all images' features with directions, about so many images at a time."""
        if (written := self.norms.features) is None:
            pulled = self.pull(directions)
            yield from ((images.rows, self.scores(pulled, images)) for images in self.scan(size))
            return
        for start in range(0, len(written), size):
            rows = range(start, min(start + size, len(written)))
            yield rows, directions @ written[start : rows.stop].T / self._lengths(rows)

    def _lengths(self, rows: range) -> Float[Tensor, " n"]:
        """Return what products are divided by; never zero."""
        return self.norms.values[rows.start : rows.stop].clamp(min=torch.finfo(self.dtype).tiny)

    def features(self, images: Block) -> Float[Tensor, "n m"]:
        """Write out the centered features of consecutive images."""
        return project(images, self.norms.means, self.maps) + self.norms.offset

    def scan(self, size: int) -> Iterator[Block]:
        """Read the stored components of all images in order, about so many images at a time."""
        return scan(self.space.source, self.stored, size)

    def block(self, rows: range) -> Block:
        """Read the stored components of some consecutive images."""
        return block(self.space.source, self.stored, rows)

    def _units(self, query: Query, known: Mapping[int, Tensor]) -> Float[Tensor, "reference m"]:
        found = [
            known[int(image)] if isinstance(image, (int, np.integer)) else self._reference(image)
            for image in query.images
        ]
        if query.texts:
            found.append(self._text(query.texts))
        if query.vector is not None:
            found.append(self._projected(self._vectors(query.vector, "vector")) - self.mean())
        return _unit(torch.cat(found))

    def _projected(self, vectors: Float[Tensor, "query d"]) -> Float[Tensor, "query m"]:
        return vectors.to(self.dtype) if self.projection is None else vectors.to(self.dtype) @ self.projection

    def _text(self, texts: Sequence[str]) -> Tensor:
        if self.encode_text is None:
            raise SpecError("texts need an encoder: Retriever(..., encode_text=ClipSpace(...))")
        vectors = self._vectors(self.encode_text(texts), "text")
        if self.text_mean is not None:
            vectors = vectors - self.text_mean.to(vectors)
        return self._projected(vectors)

    def _vectors(self, vectors: Tensor, noun: str) -> Tensor:
        several, d = vectors.detach().cpu().reshape(-1, *vectors.shape[-1:]), self.space.dimension
        if not 1 <= vectors.ndim <= 2 or several.shape[1] != d or not len(several):
            raise InputError(f"a {noun} of shape {tuple(vectors.shape)}, but images are compared in {d} dimensions")
        if not bool(several.isfinite().all()):
            raise InputError(f"NaN or infinity in a {noun}")
        return several.to(self.dtype)

    def _reference(self, image: Path | str | Image.Image | Contributions) -> Float[Tensor, "reference m"]:
        c = image if isinstance(image, Contributions) else self._decomposed(image)
        seen = self.space.seen(c)
        if seen.components != self.space.components:
            raise InputError("the reference has other components than the images")
        chosen = set(self.components)
        values = seen.values[:, [i for i, k in enumerate(seen.components) if k in chosen]].to(self.dtype).sum(1)
        return self._projected(self._vectors(values, "reference")) - self.mean()

    def _decomposed(self, image: Path | str | Image.Image) -> Contributions:
        if self.decompose is None:
            raise SpecError("an image that is not in the source needs its model: Retriever(..., decompose=...)")
        return self.decompose([image if isinstance(image, Image.Image) else open_image(Path(image))])


@dataclass(frozen=True, slots=True, eq=False)
class PulledDirections:
    """Directions in the coordinates of the components.

    Attributes:
        parts: M_i q for each component, `(r, query)`. offset: what is the same for every image, `(query,)`.
    """

    parts: tuple[Float[Tensor, "_ query"], ...]
    offset: Float[Tensor, " query"]


def project(
    block: Block, means: Sequence[Float[Tensor, " _"]], onto: Sequence[Float[Tensor, "_ q"]]
) -> Float[Tensor, "n q"]:
    """Compute sum_i (a_i - mean_i) P_i of consecutive images, for a matrix P_i of every component."""
    found = onto[0].new_zeros(len(block.rows), onto[0].shape[1])
    for numbers, scale, mean, matrix in zip(block.parts, block.scales, means, onto, strict=True):
        mean_number = mean / scale
        for some, own in pieces(numbers, found.dtype):
            found[some.start : some.stop].addmm_(own.sub_(mean_number), matrix, alpha=scale)
    return found


def total(block: Block, dtype: torch.dtype) -> tuple[Float[Tensor, " _"], ...]:
    """Compute sum_n a_ni of consecutive images, for every component."""
    sums = tuple(torch.zeros(1, numbers.shape[1], dtype=dtype) for numbers in block.parts)
    for numbers, scale, found in zip(block.parts, block.scales, sums, strict=True):
        for some, own in pieces(numbers, dtype):
            found.addmm_(torch.ones(1, len(some), dtype=dtype), own, alpha=scale)
    return tuple(found[0] for found in sums)


def pieces(numbers: Float[Tensor, "n r"], dtype: torch.dtype) -> Iterator[tuple[range, Float[Tensor, "_ r"]]]:
    """Convert a few rows at a time, all in one buffer that stays in the processor's cache.

    Otherwise a search spends most of its time on new memory.
    """
    n, width = numbers.shape
    size = max(1, min(CHUNK // max(1, width), n))
    place = torch.empty(size, width, dtype=dtype)
    for start in range(0, n, size):
        some = range(start, min(start + size, n))
        yield some, place[: len(some)].copy_(numbers[some.start : some.stop])


def _runs(rows: Sequence[int]) -> Iterator[list[int]]:
    """Split ascending rows where the gap is too wide to read what lies between, or where a run is long."""
    run: list[int] = []
    for row in rows:
        if run and (row - run[-1] > GAP or row - run[0] >= LONGEST):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def precision(source: Columns) -> torch.dtype:
    """Return float64 where the source is, else float32."""
    return torch.promote_types(source.coefficients(source.components[0], range(1)).dtype, torch.float32)


def _unit(vectors: Tensor) -> Tensor:
    norms = vectors.norm(dim=1)
    if not bool((norms > 0).all()):
        raise InputError("the query is zero in the chosen components: choose others")
    units: Tensor = vectors / norms[:, None]
    return units
