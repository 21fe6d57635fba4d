"""Retrieval by a feature: are the images that some components find nearest alike in the factor they stand for?

References:
    Balasubramanian et al., "Decomposing and Interpreting Image Representations via Text in ViTs Beyond CLIP",
    arXiv 2406.01583, on text-based and image-based retrieval by the components of a feature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError
from vitdecomp.metrics.inputs import Labels, Vectors, as_double, as_factors, as_labels, pick, summed

Found: TypeAlias = (
    Float[Tensor, "query n"] | Float[np.ndarray, "query n"] | Int[Tensor, "query k"] | Int[np.ndarray, "query k"]
)
CHUNK = 256  # queries at a time, to bound the memory


@dataclass(frozen=True, slots=True)
class FeaturePrecision:
    """Precision of retrieval by the components of each factor; the mean over the queries.

    Attributes:
        factors: the names of the factors.
        k: how many images were retrieved for each query.
        across: precision@k of the components of one factor, judged by another, `(factor, measured)`.
        everything: precision@k with all components, `(factor,)`.
        chance: share of the other images that have the query's value, `(factor,)`.
    """

    factors: tuple[str, ...]
    k: int
    across: Float64[np.ndarray, "factor measured"]
    everything: Float64[np.ndarray, " factor"]
    chance: Float64[np.ndarray, " factor"]

    @property
    def chosen(self) -> Float64[np.ndarray, " factor"]:
        """Precision@k of each factor with its own components."""
        return self.across.diagonal().copy()

    def rows(self) -> list[dict[str, str | float]]:
        """Return the table: for each factor its precision with its own components, with all, and by chance."""
        columns = zip(self.factors, self.chosen, self.everything, self.chance, strict=True)
        return [{"factor": f, "chosen": float(c), "everything": float(e), "chance": float(b)} for f, c, e, b in columns]


def retrieve(
    c: Contributions | Vectors,
    components: Iterable[Component] | None = None,
    k: int = 10,
    queries: Labels | None = None,
) -> Int64[np.ndarray, "query k"]:
    """Find the k images nearest to each query, by the cosine of vectors centered over the gallery.

    Args:
        c: contributions, or vectors `(n, d)`, of the gallery.
        components: whose contributions are summed; all by default. Only with contributions.
        k: how many images.
        queries: which images of the gallery ask; all by default. A query never finds itself.

    Returns:
        Indices of images, nearest first; equally near ones in their own order.

    Raises:
        InputError: k larger than the gallery without the query, or queries outside of it.
        SpecError: a component that the contributions do not have.
    """
    if isinstance(c, Contributions):
        x = summed(c, components)
    elif components is not None:
        raise InputError("components can be chosen among contributions only, not among vectors")
    else:
        x = as_double(c, "vectors", "n, d")
    n = len(x)
    asked = np.arange(n) if queries is None else as_labels(queries, len(queries), "queries")
    if len(asked) == 0 or asked.min() < 0 or asked.max() >= n:
        raise InputError(f"queries must be indices of the {n} images, at least one")
    if not 1 <= k < n:
        raise InputError(f"k = {k}, but the gallery has {n - 1} images besides the query")
    unit = torch.nn.functional.normalize(x - x.mean(0), dim=1)
    found = []
    for start in range(0, len(asked), CHUNK):
        some = torch.from_numpy(asked[start : start + CHUNK])
        similarity = unit[some] @ unit.T
        similarity[torch.arange(len(some)), some] = -torch.inf
        found.append(_nearest(similarity.numpy(), k))
    return np.concatenate(found)


def precision_at_k(
    found: Found,
    labels: Labels,
    query_labels: Labels,
    k: int = 10,
) -> Float64[np.ndarray, " query"]:
    """Share of the k nearest images that have the query's label.

    Args:
        found: similarities to all images of the gallery (floats, `(query, n)`; -inf leaves an image out), or the
            indices of the images found, nearest first (whole numbers, `(query, k or more)`).
        labels: of the gallery, `(n,)`.
        query_labels: of the queries, `(query,)`.
        k: how many images count.

    Raises:
        InputError: k larger than the gallery or the number of hits, labels of another length, NaN.
    """
    table = found.detach().cpu().numpy() if isinstance(found, Tensor) else np.asarray(found)
    if table.ndim != 2:
        raise InputError(f"found must be of shape (query, n), not {table.shape}")
    known = as_labels(labels, len(labels))
    wanted = as_labels(query_labels, len(table), "query_labels")
    if not 1 <= k <= table.shape[1]:
        raise InputError(f"k = {k}, but the gallery has {table.shape[1]} images to find")
    if table.dtype.kind == "f":
        as_labels(labels, table.shape[1])
        if np.isnan(table).any():
            raise InputError("found: NaN among the similarities")
        hits = _nearest(table, k)
    else:
        hits = table[:, :k]
        if hits.size and (hits.min() < 0 or hits.max() >= len(known)):
            raise InputError(f"found: an index outside the gallery of {len(known)} images")
    precision: Float64[np.ndarray, " query"] = (known[hits] == wanted[:, None]).mean(axis=1)
    return precision


def feature_precision(
    c: Contributions,
    labels: Mapping[str, Labels],
    components: Mapping[str, Sequence[Component]],
    k: int = 10,
    queries: int = 200,
    seed: int = 0,
) -> FeaturePrecision:
    """Precision@k of retrieval by the components of each factor, with all components, and by chance.

    Args:
        c: contributions to n images, the gallery.
        labels: for every factor its value for each image, `(n,)`.
        components: for every factor the components that stand for it, such as `choose` finds.
        k: how many images are retrieved.
        queries: how many images ask, drawn without repetition; all, if there are fewer.
        seed: of the queries.

    Raises:
        InputError: k larger than the gallery, labels of another length, no components.
        SpecError: a factor without labels, or a component that the contributions do not have.
    """
    factors = as_factors(pick(components, labels), len(c))
    if queries < 1:
        raise InputError(f"queries = {queries}; give at least one")
    asked = np.sort(np.random.default_rng(seed).permutation(len(c))[:queries])

    def judged(chosen: Iterable[Component] | None) -> list[float]:
        hits = retrieve(c, chosen, k, asked)
        return [float(precision_at_k(hits, f, f[asked], k).mean()) for f in factors.values()]

    across = np.array([judged(components[name]) for name in factors])
    alike = [(f[asked, None] == f).sum(axis=1).mean() - 1 for f in factors.values()]
    return FeaturePrecision(tuple(factors), k, across, np.array(judged(None)), np.array(alike) / (len(c) - 1))


def _nearest(similarity: np.ndarray, k: int) -> Int64[np.ndarray, "query k"]:
    nearest: Int64[np.ndarray, "query k"] = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return nearest
