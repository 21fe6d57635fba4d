"""What some components see of all images, and of what is looked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.opening import open_image
from vitdecomp.retrieval.lengths import Lengths
from vitdecomp.retrieval.query import Decompose, EncodeText, Query, Reference
from vitdecomp.retrieval.space import Space
from vitdecomp.retrieval.view import View, project
from vitdecomp.sources.source import Block, block, scan


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A view of the images with all that scores need.

    Attributes:
        space: where images are compared. view: the features of the images. lengths: their means and lengths.
        components: those that are seen, an aligner's constants too.
        text_mean: what is taken off the vectors of texts, `(d,)`.
        encode_text, decompose: as for `Retriever`.
    """

    space: Space
    view: View
    lengths: Lengths
    components: tuple[Component, ...]
    text_mean: Float[Tensor, " d"] | None = None
    encode_text: EncodeText | None = None
    decompose: Decompose | None = None

    def directions(self, query: Query) -> Float[Tensor, "direction m"]:
        """Unit vectors whose cosine with a feature is its score: the largest one, if there are several.

        Raises:
            SpecError: no encoder for texts or images.
            InputError: a vector of another length, NaN, no such row, or nothing of it that the components could see.
        """
        units = self._units(query)
        if query.combine == "mean":
            units = units.mean(0, keepdim=True)
        if query.against is not None:
            avoided = normalize(self._units(query.against).mean(0), dim=0)
            units = normalize(units, dim=1) - query.weight * avoided
        return self._unit(units)

    def pulled(self, directions: Float[Tensor, "query m"]) -> Pulled:
        """Directions in the components' own coordinates."""
        return Pulled(self.view.pull(directions), directions @ self.lengths.offset)

    def scores(self, pulled: Pulled, images: Block) -> Float[Tensor, "query block"]:
        """Cosines of consecutive images' features with directions; 0 for an image without a feature."""
        found = project(self.view, images, self.lengths.means, pulled.parts) + pulled.offset
        tiny = torch.finfo(found.dtype).tiny
        return found.T.contiguous() / self.lengths.values[images.rows.start : images.rows.stop].clamp(min=tiny)

    def features(self, images: Block) -> Float[Tensor, "n m"]:
        """The features of consecutive images, written out, with the mean taken off."""
        return project(self.view, images, self.lengths.means, self.view.maps) + self.lengths.offset

    def scan(self, size: int) -> Iterator[Block]:
        """All images in order, about so many at a time, in the components that are seen."""
        return scan(self.space.source, self.view.components, size)

    def block(self, rows: range) -> Block:
        """Some consecutive images, in the components that are seen."""
        return block(self.space.source, self.view.components, rows)

    def _units(self, query: Query) -> Float[Tensor, "reference m"]:
        found = [self._reference(image) for image in query.images]
        if query.texts:
            found.append(self._text(query.texts))
        if query.vector is not None:
            found.append(self.view.looked_at(self._vectors(query.vector, "vector")) - self.lengths.mean(self.view))
        return self._unit(torch.cat(found))

    def _unit(self, vectors: Tensor) -> Tensor:
        lengths = vectors.norm(dim=1)
        if not bool((lengths > 0).all()):
            raise InputError("nothing of the query is left to compare images with: it is zero in the chosen components")
        units: Tensor = vectors / lengths[:, None]
        return units

    def _text(self, texts: Sequence[str]) -> Tensor:
        if self.encode_text is None:
            raise SpecError("texts need an encoder: Retriever(..., encode_text=ClipSpace(...))")
        vectors = self._vectors(self.encode_text(texts), "text")
        if self.text_mean is not None:
            vectors = vectors - self.text_mean.to(vectors)
        return self.view.looked_at(vectors)

    def _vectors(self, vectors: Tensor, noun: str) -> Tensor:
        several, d = vectors.detach().cpu().reshape(-1, *vectors.shape[-1:]), self.space.dimension
        if not 1 <= vectors.ndim <= 2 or several.shape[1] != d or not len(several):
            raise InputError(f"a {noun} of shape {tuple(vectors.shape)}, but images are compared in {d} dimensions")
        if not bool(several.isfinite().all()):
            raise InputError(f"NaN or infinity in a {noun}")
        return several.to(self.view.dtype)

    def _reference(self, image: Reference) -> Float[Tensor, "reference m"]:
        if isinstance(image, (int, np.integer)):
            row, n = int(image), len(self.space.source)
            if not 0 <= row < n:
                raise InputError(f"row {row} asked for, of {n} images")
            return self.features(self.block(range(row, row + 1)))
        c = image if isinstance(image, Contributions) else self._decomposed(image)
        seen = self.space.seen(c)
        if seen.components != self.space.components:
            raise InputError("the reference was split into other components than the images")
        chosen = set(self.components)
        values = seen.values[:, [i for i, k in enumerate(seen.components) if k in chosen]].to(self.view.dtype).sum(1)
        return self.view.looked_at(self._vectors(values, "reference")) - self.lengths.mean(self.view)

    def _decomposed(self, image: Path | str | Image.Image) -> Contributions:
        if self.decompose is None:
            raise SpecError("an image that is not in the source needs its model: Retriever(..., decompose=...)")
        return self.decompose([image if isinstance(image, Image.Image) else open_image(Path(image))])


@dataclass(frozen=True, slots=True, eq=False)
class Pulled:
    """Directions as the components' coordinates see them.

    Attributes:
        parts: M_i q for each component, `(r, query)`. offset: what is the same for every image, `(query,)`.
    """

    parts: tuple[Float[Tensor, "_ query"], ...]
    offset: Float[Tensor, " query"]
