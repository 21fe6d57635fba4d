"""TextSpan: the few texts that span most of what a component contributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.estimator import Estimator
from vitdecomp._utils.progress import Progress
from vitdecomp._utils.tolerance import check_varies
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.errors import InputError, SpecError
from vitdecomp_alignment.textspan.greedy import Span, Variation, choose, double

Self = TypeVar("Self", bound="TextSpan")


class TextSpan(Estimator):
    """For every component the texts along which its contributions vary most, each after what those before it explain.

    Algorithm 1 of Gandelsman et al., "Interpreting CLIP's Image Representation via Text-Based Decomposition"
    (arXiv 2310.05916), and its variant in arXiv 2406.01583. The first basis of m texts is the beginning of any longer
    one. Of texts that explain the same, the first of the pool is taken.

    Args:
        m: texts for each component; fewer are chosen once nothing varies along any text.
        rank: project the pool onto so many leading right singular vectors of each component's contributions first
            (2310.05916); `None` leaves the pool as it is (2406.01583).
        chunk: components worked on at a time; one that spans r dimensions takes `8 (pool + 2 d r)` bytes.

    Attributes:
        components_: the component axis.
        spans_: the chosen texts of each component.
        labels_: their words, if `fit` was given any.
    """

    components_: tuple[Component, ...]
    spans_: tuple[Span, ...]
    labels_: tuple[tuple[str, ...], ...] | None

    def __init__(self, *, m: int = 10, rank: int | None = None, chunk: int = 32) -> None:
        self.m, self.rank, self.chunk = m, rank, chunk

    def fit(
        self: Self,
        c: Contributions,
        texts: Float[Tensor, "pool d"],
        labels: Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> Self:
        """Choose the texts.

        Args:
            c: contributions to n images, in the space of the texts.
            texts: embeddings of the pool.
            labels: the words of each text of the pool.
            progress: called with the components done and their number.

        Raises:
            InputError: shapes do not fit, there are fewer than two images, or a value is not finite.
            SpecError: m, rank or chunk is not positive.
        """
        for name in ("m", "rank", "chunk"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise SpecError(f"{name} must be positive, not {number}")
        check_pool(c, texts)
        if labels is not None and len(labels) != len(texts):
            raise InputError(f"there must be one label for each text: {len(labels)} labels, {len(texts)} texts")
        spans: list[Span] = []
        for start in range(0, len(c.components), self.chunk):
            parts = [Variation.of(values, self.rank) for values in c.values[:, start : start + self.chunk].unbind(1)]
            spans += choose(parts, texts, self.m)
            if progress is not None:
                progress(len(spans), len(c.components))
        self.components_, self.spans_ = c.components, tuple(spans)
        self.labels_ = None if labels is None else tuple(tuple(labels[i] for i in span.indices) for span in spans)
        return self

    def transform(self, c: Contributions) -> Contributions:
        """Project contributions on the texts' span: mean + (values - mean) basis^T basis, `(n, component, d)`.

        Raises:
            InputError: the components, or the length of a contribution, are not those of `fit`.
            SpecError: not fitted yet.
        """
        spans, values = self._fitted(c), torch.empty_like(c.values)
        for k, span in enumerate(spans):
            values[:, k] = span.reconstruct(c.values[:, k].to(span.mean.dtype))
        return replace(c, values=values)

    def score(self, c: Contributions) -> float:
        """Measure the share of variance that the texts explain in contributions, such as those of images held out.

        1 - sum |c - transform(c)|^2 / sum |c - mean|^2, both over images and components, with each component's mean
        from `fit`: between 0 and 1, and components that vary more count for more. 1 where nothing varies.

        Raises:
            InputError: the components are not those of `fit`, or a value is not finite.
            SpecError: not fitted yet.
        """
        left = whole = 0.0
        spans = self._fitted(c)
        _check_finite(c)
        for k, span in enumerate(spans):
            centered, basis = double(c.values[:, k]) - double(span.mean), double(span.basis)
            whole += float(centered.square().sum())
            left += float((centered - centered @ basis.T @ basis).square().sum())
        return 1 - left / whole if whole else 1.0

    def _fitted(self, c: Contributions) -> tuple[Span, ...]:
        if not hasattr(self, "spans_"):
            raise SpecError("this TextSpan is not fitted yet: call fit(contributions, texts) first")
        if c.components != self.components_:
            raise InputError(
                f"these are not the {len(self.components_)} components of fit, in their order: keep the same with "
                "contributions.select"
            )
        if self.spans_ and c.dimension != len(self.spans_[0].mean):
            raise InputError(f"contributions of length {len(self.spans_[0].mean)} were fitted, not {c.dimension}")
        return self.spans_


def check_pool(c: Contributions, texts: Tensor) -> None:
    """Raise `InputError` unless texts can be chosen for these contributions."""
    if len(c) < 2 or texts.ndim != 2 or not len(texts) or texts.shape[1] != c.dimension:
        raise InputError(
            f"TextSpan needs contributions (n, component, d) of two images or more and texts (pool, d), got "
            f"{tuple(c.values.shape)} and {tuple(texts.shape)}"
        )
    _check_finite(c)
    values = c.values.detach()
    check_varies(float((values - values.mean(0)).norm()), float(values.norm()), values.dtype, "the contributions")
    if not bool(torch.stack(texts.aminmax()).isfinite().all()):
        raise InputError("the texts hold NaN or infinity")


def _check_finite(c: Contributions) -> None:
    ends = torch.stack([c.values.amin((0, 2)), c.values.amax((0, 2))])  # no copy of the contributions; NaN spreads
    wrong = (~ends.isfinite().all(0)).nonzero().flatten().tolist()
    if wrong:
        raise InputError(f"the contributions of {c.components[wrong[0]]} hold NaN or infinity")
