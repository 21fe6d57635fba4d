"""The greedy choice of texts: what it needs of the contributions, and its bookkeeping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp._utils.summary import Brief

BLOCK = 4096  # texts or images held in float64 at a time
STALE = 1e-5  # scores that sank below this part of what they were have lost too many digits
TIE = 1e-9  # scores as near as this are equal, and the first text of the pool is taken


@dataclass(frozen=True, slots=True, repr=False)
class Span(Brief):
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


@dataclass(frozen=True, slots=True)
class Variation:
    """How one component varies, in float64: all that the choice of texts needs of its contributions.

    Attributes:
        mean: of the contributions, `(d,)`.
        factor: A with A A^T the scatter matrix, `(d, r)`, r its rank: a head of width 64 needs 64 columns.
        total: the sum of squared deviations from the mean; 0 if they are no more than rounding.
        leading: orthonormal columns onto which the pool is projected, and A with it, `(d, rank)`; None: no projection.
        rounding: the precision of the contributions.
        dtype: of what is handed back.
    """

    mean: Float[Tensor, " d"]
    factor: Float[Tensor, "d r"]
    total: float
    leading: Tensor | None
    rounding: float
    dtype: torch.dtype

    @classmethod
    def of(cls, values: Float[Tensor, "n d"], rank: int | None = None) -> Variation:
        """Of contributions to n images, with the pool to be projected onto `rank` directions."""
        dtype = torch.promote_types(values.dtype, torch.float32)
        rounding = torch.finfo(dtype).eps
        mean = torch.stack([block.sum(0) for _, block in _blocks(values)]).sum(0) / len(values)
        factor = _factor(values, mean, rounding)
        total, leading = float(factor.square().sum()), None
        if total <= (10 * rounding) ** 2 * len(values) * float(mean.square().sum()):
            factor, total = factor[:, :0], 0.0
        if rank is not None:
            leading = torch.linalg.qr(_factor(values, torch.zeros_like(mean), rounding)[:, :rank]).Q
            factor = leading @ (leading.T @ factor)  # t^T V V^T A: projecting A serves as well as projecting the pool
        return cls(mean, factor, total, leading, rounding, dtype)


def choose(parts: Sequence[Variation], texts: Tensor, m: int) -> list[Span]:
    """Choose greedily for several components at once.

    The score of a text t is its variance |A^T t|^2, with A and t free of the directions chosen so far. When a unit
    direction q joins these, it falls by (q t) (2 g - l q) t with g = A A^T q and l = q^T g: two products with the whole
    pool, which are made for all components together; neither contributions nor pool are written anew. What is
    subtracted leaves fewer digits of what remains, so scores that have sunk far are computed afresh.
    """
    choices, active = [_Choice(part) for part in parts], list(range(len(parts)))
    texts = texts.to(choices[0].left.device)
    scores = _scores([choice.left for choice in choices], texts)
    fresh = scores.amax(1)
    for step in range(m):
        highest = scores.amax(1)
        stale = [k for k in active if bool(highest[k] < STALE * fresh[k])]
        if stale:
            scores[stale] = _scores([choices[k].left for k in stale], texts)
            fresh[stale] = highest[stale] = scores[stale].amax(1)
        best = (scores >= highest[:, None] * (1 - TIE)).to(torch.uint8).argmax(1).tolist()
        falls = scores.new_zeros(2, len(parts), texts.shape[1])  # those that have ended stay 0
        active = [k for k in active if choices[k].take(best[k], double(texts[best[k]]), falls[:, k])]
        if not active or step == m - 1:
            break
        for rows, block in _blocks(texts):
            scores[:, rows] -= (falls[0] @ block.T) * (falls[1] @ block.T)
    return [choice.span() for choice in choices]


class _Choice:
    """The texts of one component so far.

    Attributes:
        left: the factor A, free of their directions.
    """

    def __init__(self, part: Variation) -> None:
        self.part, self.left = part, part.factor.clone()
        self.basis = part.factor.new_zeros(0, len(part.mean))
        self.indices: list[int] = []
        self.explained: list[float] = []

    def take(self, index: int, text: Float[Tensor, " d"], fall: Float[Tensor, "2 d"]) -> bool:
        """Add a text and write q and 2 g - l q of its direction to `fall`; False if nothing varies along it."""
        if self.part.leading is not None:
            text = self.part.leading @ (self.part.leading.T @ text)
        if float((text @ self.left).norm()) <= 100 * self.part.rounding * float(text.norm()) * self.part.total**0.5:
            return False
        for _ in range(2):  # once is not orthogonal to rounding when little of the text is new
            text = text - (self.basis @ text) @ self.basis
        direction = text / text.norm()
        along = direction @ self.left
        image, strength = self.left @ along, along.square().sum()
        self.left -= torch.outer(direction, along)
        self.basis = torch.cat([self.basis, direction[None]])
        self.indices.append(index)
        self.explained.append(float(strength) / self.part.total)
        fall[0], fall[1] = direction, 2 * image - strength * direction
        return True

    def span(self) -> Span:
        """Return what was chosen, in the precision of the contributions."""
        basis, mean = (t.to(self.part.dtype) for t in (self.basis, self.part.mean))
        return Span(tuple(self.indices), basis.new_tensor(self.explained), basis, mean)


def _scores(factors: Sequence[Tensor], texts: Tensor) -> Float[Tensor, "component pool"]:
    """|A^T t|^2 of every text for every A."""
    scores = torch.empty(len(factors), len(texts), dtype=torch.float64, device=texts.device)
    for rows, block in _blocks(texts):
        for row, factor in zip(scores, factors, strict=True):
            row[rows] = (factor.T @ block.T).square_().sum(0)
    return scores


def _factor(values: Tensor, origin: Float[Tensor, " d"], rounding: float) -> Float[Tensor, "d r"]:
    """Factor the scatter around the origin as A A^T, strongest column first, without those that are rounding.

    From the eigenvectors of the smaller of the scatter matrix and the Gram matrix, in float64.
    """
    n, d = values.shape
    if n < d:
        centered = double(values) - origin
        strength, vectors = torch.linalg.eigh(centered @ centered.T)
        columns = centered.T @ vectors
    else:
        scatter = origin.new_zeros(d, d)
        for _, block in _blocks(values):
            centered = block - origin
            scatter.addmm_(centered.T, centered)
        strength, vectors = torch.linalg.eigh(scatter)
        columns = vectors * strength.clamp(min=0).sqrt()
    floor = max(n, d) * max(rounding**2, torch.finfo(torch.float64).eps)
    factor: Tensor = columns[:, strength > strength[-1] * floor].flip(1).contiguous()
    return factor


def _blocks(t: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield a few rows at a time, in float64."""
    for start in range(0, len(t), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, double(t[rows])


def double(t: Tensor) -> Tensor:
    """In float64, on the CPU if the device has none (Apple's)."""
    return (t.detach().cpu() if t.device.type == "mps" else t.detach()).double()
