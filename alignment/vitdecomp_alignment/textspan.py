"""TextSpan: the few texts that span most of what a component contributes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.errors import InputError, SpecError


@dataclass(frozen=True, slots=True)
class Span:
    """The texts chosen for one component, most telling first.

    Attributes:
        indices: of the texts, in the pool.
        explained: the share of the component's variance that each text adds, `(m,)`, between 0 and 1.
        basis: orthonormal directions, one for each text, `(m, d)`.
        mean: of the contributions, `(d,)`.
    """

    indices: tuple[int, ...]
    explained: Float[Tensor, " m"]
    basis: Float[Tensor, "m d"]
    mean: Float[Tensor, " d"]

    def reconstruct(self, values: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Contributions as far as the texts span them: mean + (values - mean) basis^T basis."""
        return self.mean + (values - self.mean) @ self.basis.T @ self.basis


def text_span(values: Float[Tensor, "n d"], texts: Float[Tensor, "pool d"], m: int, rank: int | None = None) -> Span:
    """Greedily choose the texts along which contributions vary most, each after what those before it explain.

    Algorithm 1 of Gandelsman et al., "Interpreting CLIP's Image Representation via Text-Based Decomposition" (2024).
    A text's variance is |A^T t|^2 / n with A A^T the covariance; taking out a direction q changes A^T t by the rank-one
    term (q t)(A^T q), so that neither the contributions nor the pool are ever written anew.

    Args:
        values: contributions of one component to n images.
        texts: embeddings of the pool.
        m: texts to choose; fewer are chosen if those already explain everything.
        rank: project the pool onto so many leading right singular vectors of the contributions first, as the paper
            does; None leaves it as it is.

    Raises:
        InputError: shapes do not fit, or there are fewer than two images.
        SpecError: m or rank is not positive.
    """
    _check(values, texts, m, rank)
    mean = values.mean(0)
    centred = values - mean
    if rank is not None:
        leading = torch.linalg.svd(values, full_matrices=False).Vh[:rank]
        texts = texts @ leading.T @ leading
    factor = _factor(centred)
    projected, total = texts @ factor, factor.square().sum()
    rounding = torch.finfo(values.dtype).eps * 10
    indices, basis, explained = [], values.new_zeros(0, values.shape[1]), []
    for _ in range(m):
        best = int(projected.square().sum(1).argmax())
        if projected[best].norm() <= rounding * texts[best].norm() * total.sqrt():
            break  # nothing is left that varies along any text
        direction = texts[best] - texts[best] @ basis.T @ basis
        direction = direction / direction.norm()
        along = direction @ factor
        projected = projected - torch.outer(texts @ direction, along)
        indices.append(best)
        explained.append(along.square().sum() / total)
        basis = torch.cat([basis, direction[None]])
    return Span(tuple(indices), torch.stack(explained) if explained else values.new_zeros(0), basis, mean)


def _factor(centred: Tensor) -> Float[Tensor, "d r"]:
    """A with A A^T the scatter matrix of the rows, no wider than their rank: a head of width 64 needs 64 columns."""
    _, s, vh = torch.linalg.svd(centred, full_matrices=False)
    kept = s > s[:1] * torch.finfo(s.dtype).eps * max(centred.shape)
    factor: Tensor = (s[kept, None] * vh[kept]).T
    return factor


def _check(values: Tensor, texts: Tensor, m: int, rank: int | None) -> None:
    if values.ndim != 2 or texts.ndim != 2 or values.shape[1] != texts.shape[1] or len(values) < 2:
        raise InputError(
            f"TextSpan needs contributions (n, d) of two images or more and texts (pool, d), got "
            f"{tuple(values.shape)} and {tuple(texts.shape)}"
        )
    if m < 1 or (rank is not None and rank < 1):
        raise SpecError(f"the number of texts and the rank must be positive, not {m} and {rank}")
