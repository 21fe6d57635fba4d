"""A feature's vectors written out once, and an index of them, for many queries of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vitdecomp._utils.progress import Progress
from vitdecomp.errors import InputError, LoadError, SpecError
from vitdecomp.retrieval.feature_view import FeatureView
from vitdecomp.retrieval.query import Query
from vitdecomp.retrieval.retriever import Retriever
from vitdecomp.retrieval.scope import Scope
from vitdecomp.sources.source import Block

PROBES = 64  # cells of an inverted file that a query looks into


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """An approximate index of what some components see, made by FAISS.

    It holds unit vectors of all images, so it needs memory for these; a `Retriever` does not. It answers faster than a
    `Retriever`, and may miss a hit: measure the recall with `recall`.

    Attributes:
        view: the features. kind: as FAISS's `index_factory` reads it.
        held: FAISS's own index, for inner products.
    """

    view: FeatureView
    kind: str
    held: object

    @classmethod
    def of(
        cls, retriever: Retriever, scope: Scope, kind: str | None = None, *, progress: Progress | None = None
    ) -> Index:
        """Write a scope's features out, some images at a time, and index them.

        Args:
            retriever: knows the images.
            scope: which components, along which directions.
            kind: such as `Flat`, `HNSW32` or `IVF1024,SQfp16`; by default an inverted file of sqrt(n) cells, and a
                flat one, which is exact, of fewer than 10,000 images.
            progress: called with the images done and their number.

        Raises:
            LoadError: FAISS is not installed.
            SpecError: a kind that FAISS does not know, or what `Retriever.search` refuses.
        """
        faiss, view, n = _faiss(), retriever.view(scope), len(retriever.source)
        kind = kind or (f"IVF{round(n**0.5)},SQfp16" if n >= 10_000 else "Flat")
        try:
            held = faiss.index_factory(view.width, kind, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            raise SpecError(f"FAISS has no index {kind!r}: give one such as Flat, HNSW32 or IVF1024,SQfp16") from error
        if not held.is_trained:
            held.train(_sample(view, n, 64 * getattr(held, "nlist", 1000)).numpy())
        for images in view.scan(retriever.block):
            held.add(_units(view, images).numpy())
            if progress is not None:
                progress(images.rows.stop, n)
        if hasattr(held, "nprobe"):
            held.nprobe = PROBES
        return cls(view, kind, held)

    def nearest(
        self, queries: Sequence[Query], k: int = 10
    ) -> tuple[Float[Tensor, "query k"], Int64[Tensor, "query k"]]:
        """Scores and rows of (nearly) the k best images for each query.

        Raises:
            InputError: a query for the best of several references, or k images that are not there.
        """
        n = len(self.view.space.source)
        if not 1 <= k <= n:
            raise InputError(f"k = {k}, but there are {n} images")
        directions = self.view.directions(queries)
        if any(len(one) != 1 for one in directions):
            raise InputError("an index takes queries of one direction: give combine='mean'")
        scores, rows = self.held.search(torch.cat(directions).float().numpy(), k)  # type: ignore[attr-defined]
        return torch.from_numpy(scores), torch.from_numpy(rows)


def recall(found: Int64[Tensor, "query k"], exact: Int64[Tensor, "query k"]) -> float:
    """Share of the exact hits that were found."""
    same = (found[:, :, None] == exact[:, None]).any(1)
    return float(same.double().mean())


def _units(view: FeatureView, images: Block) -> Float[Tensor, "n m"]:
    tiny, rows = torch.finfo(view.dtype).tiny, images.rows
    units = view.features(images) / view.norms.values[rows.start : rows.stop, None].clamp(min=tiny)
    return units.float().contiguous()


def _sample(view: FeatureView, n: int, size: int) -> Float[Tensor, "n m"]:
    """Features from places all over the source, in a few runs, which are quick to read."""
    runs = 32
    each = max(1, min(size, n) // runs)
    starts = torch.linspace(0, n - each, runs).long().tolist()
    return torch.cat([_units(view, view.block(range(start, start + each))) for start in dict.fromkeys(starts)])


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise LoadError("an index needs FAISS: pip install 'vitdecomp[index]'") from error
    found: ModuleType = faiss
    return found
