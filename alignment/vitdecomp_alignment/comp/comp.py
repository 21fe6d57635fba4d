"""COMP: the few texts, coherent with each other, whose non-negative sum is closest to a direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from vitdecomp._utils.estimator import Estimator
from vitdecomp._utils.progress import Progress
from vitdecomp.errors import InputError, SpecError

Self = TypeVar("Self", bound="Comp")


class Comp(Estimator):
    """Describe directions by non-negative orthogonal matching pursuit with a coherence term (arXiv 2603.24653).

    For a direction u, chosen texts S and residual r = u - sum_{i in S} w_i t_i, all of norm one, the next text is
    argmax_t <r, t> + coherence * mean_{i in S} <t_i, t>, of those with <r, t> > 0; then w >= 0 is solved again.

    Args:
        m: texts for each direction; fewer once none reduces the residual.
        coherence: how much texts similar to those chosen already are favoured.

    Attributes:
        indices_: the chosen texts of each direction, in their order.
        weights_: of each, not negative.
        labels_: their words, if `fit` was given any.
        similarity_: cosine of each direction and its sum, `(n,)`.
    """

    indices_: tuple[tuple[int, ...], ...]
    weights_: tuple[tuple[float, ...], ...]
    labels_: tuple[tuple[str, ...], ...] | None
    similarity_: Float[Tensor, " n"]

    def __init__(self, *, m: int = 5, coherence: float = 0.3) -> None:
        self.m, self.coherence = m, coherence

    def fit(
        self: Self,
        directions: Float[Tensor, "n d"],
        texts: Float[Tensor, "pool d"],
        labels: Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> Self:
        """Choose the texts; the sign of a direction counts.

        Args:
            directions: in the space of the texts, of any length.
            texts: the pool, of any length.
            labels: their words.
            progress: called with the directions done and their number.

        Raises:
            InputError: shapes do not fit, or a value is not finite. SpecError: m is not positive.
        """
        if self.m < 1:
            raise SpecError(f"m must be 1 or more, not {self.m}")
        if directions.ndim != 2 or texts.ndim != 2 or directions.shape[1] != texts.shape[1] or not len(texts):
            shapes = f"{tuple(directions.shape)} and {tuple(texts.shape)}"
            raise InputError(f"Comp needs directions (n, d) and texts (pool, d), got {shapes}")
        if labels is not None and len(labels) != len(texts):
            raise InputError(f"there must be one label for each text: {len(labels)} labels, {len(texts)} texts")
        if not bool(directions.isfinite().all() and texts.isfinite().all()):
            raise InputError("the directions or texts hold NaN or infinity")
        pool = normalize(texts.detach().double().cpu(), dim=1)
        units = normalize(directions.detach().double().cpu(), dim=1)
        found = []
        for done, u in enumerate(units, 1):
            found.append(self._describe(u, pool))
            if progress is not None:
                progress(done, len(units))
        self.indices_ = tuple(tuple(chosen) for chosen, _ in found)
        self.weights_ = tuple(tuple(w.tolist()) for _, w in found)
        self.labels_ = None if labels is None else tuple(tuple(labels[i] for i in one) for one in self.indices_)
        sums = [w @ pool[chosen] for chosen, w in found]
        self.similarity_ = torch.stack([u @ normalize(s, dim=0) for u, s in zip(units, sums, strict=True)])
        return self

    def _describe(self, u: Float[Tensor, " d"], pool: Float[Tensor, "pool d"]) -> tuple[list[int], Tensor]:
        """Return the chosen texts of one direction, and their weights; both have length one."""
        from scipy.optimize import nnls  # which takes longer to import than all else

        chosen: list[int] = []
        w = u.new_zeros(0)
        while len(chosen) < min(self.m, len(pool)):
            fits = pool @ (u - w @ pool[chosen])
            fits[chosen] = 0
            score = fits + self.coherence * (pool @ pool[chosen].mean(0) if chosen else 0)
            score[fits <= 1e-9] = -torch.inf
            if not bool(score.isfinite().any()):
                break
            chosen.append(int(score.argmax()))
            w = torch.from_numpy(nnls(pool[chosen].T.numpy(), u.numpy())[0])
        return chosen, w
