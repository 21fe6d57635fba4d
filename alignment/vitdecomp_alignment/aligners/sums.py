"""What least-squares maps follow from, gathered in one pass over images: sums, or the images if they are few."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitdecomp.distributed.process_group import Ranks
from vitdecomp_alignment.aligners.maps import Span

STRIPE = 512  # rows of x^T x that are worked on together
VARIES = 1e-10  # share of a component's mean square, below which its variance is rounding
Self = TypeVar("Self", bound="Moments")


class Moments(ABC):
    """Sums over images, in float64; x are the components' coordinates side by side, s their sum, t the target.

    Every image counts alike: it is scaled so that s and t have length one.

    Args:
        wide: of x, R.
        d: of the representation.
        d_clip: of the target.

    Attributes:
        width: of x, R. whole: s^T t, `(d, d_clip)`. square: the sum of |t|^2. n: images so far.
    """

    def __init__(self, wide: int, d: int, d_clip: int) -> None:
        self.width = wide
        self.whole = torch.zeros(d, d_clip, dtype=torch.float64)
        self.square, self.n = 0.0, 0

    def add(
        self, x: Sequence[Float[Tensor, "n _"]], total: Float[Tensor, "n d"], target: Float[Tensor, "n d_clip"]
    ) -> None:
        """Take a batch in; x comes in parts that are side by side."""
        total, target = total.double(), torch.nn.functional.normalize(target.double(), dim=1)
        lengths = total.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        self.whole.addmm_((total / lengths).T, target)
        self.square += float(target.square().sum())
        self.n += len(total)
        self._add(torch.cat([part.double() for part in x], dim=1).div_(lengths), target)

    def merge(self: Self, other: Self) -> None:
        """Take in what another has seen."""
        self.whole += other.whole
        self.square, self.n = self.square + other.square, self.n + other.n
        self._merge(other)

    def over(self, ranks: Ranks) -> None:
        """Take in what all processes of a run have seen, each in its share of the images.

        Raises:
            RankError: another process has ended.
        """
        seen = ranks.all_reduce(torch.tensor([self.square, float(self.n)], dtype=torch.float64)).tolist()
        self.square, self.n = seen[0], round(seen[1])
        self.whole = ranks.all_reduce(self.whole)
        self._over(ranks)

    def procrustes(self) -> Float[Tensor, "d d_clip"]:
        """Find the map with orthonormal rows or columns that takes totals nearest to the targets (Schönemann, 1966)."""
        u, _, vh = torch.linalg.svd(self.whole, full_matrices=False)
        nearest: Tensor = u @ vh
        return nearest

    @abstractmethod
    def error(self, weight: Float[Tensor, "R d_clip"]) -> float:
        """Average |x W - t|^2 over the images; 2 (1 - cos) where |x W| = 1."""

    @abstractmethod
    def ridges(
        self, towards: Float[Tensor, "R d_clip"], strengths: Iterable[float]
    ) -> Iterator[Float[Tensor, "R d_clip"]]:
        """argmin of |x W - t|^2 + l |W - towards|^2, with l = strength times the mean diagonal of x^T x, for each."""

    @abstractmethod
    def alone(self, blocks: Sequence[slice], strength: float) -> Float[Tensor, "R d_clip"]:
        """Regress the target on each component alone, and scale all regressions by one number.

        The last coordinate of x is the constant 1, divided by the length of s like all others. Every regression has it
        beside its component, without a penalty, and so has the sum of all.

        Args:
            blocks: coordinates of each component.
            strength: of the ridge, as a multiple of the mean square of a coordinate of the component.

        Returns:
            s P_i below each other, and the constant's row last: |x W - t|^2 is smallest for this scale s and this row.
        """

    @abstractmethod
    def _add(self, x: Float[Tensor, "n R"], target: Float[Tensor, "n d_clip"]) -> None: ...

    @abstractmethod
    def _merge(self, other: Any) -> None: ...  # of the same kind

    @abstractmethod
    def _over(self, ranks: Ranks) -> None: ...


class Sums(Moments):
    """x^T x and x^T t, `(R, R)` and `(R, d_clip)`: no larger for more images."""

    def __init__(self, wide: int, d: int, d_clip: int) -> None:
        super().__init__(wide, d, d_clip)
        self._upper = torch.zeros(self.width, self.width, dtype=torch.float64)  # below its blocks it means nothing
        self._mirrored = True
        self.cross = torch.zeros(self.width, d_clip, dtype=torch.float64)

    @property
    def inner(self) -> Float[Tensor, "R R"]:
        """x^T x."""
        if not self._mirrored:
            for start in range(0, self.width, STRIPE):
                stop = start + STRIPE
                self._upper[stop:, start:stop] = self._upper[start:stop, stop:].T
            self._mirrored = True
        return self._upper

    def error(self, weight: Float[Tensor, "R d_clip"]) -> float:
        """From |x W|^2 - 2 <x W, t> + |t|^2."""
        explained = (weight * (self.inner @ weight - 2 * self.cross)).sum()
        return (float(explained) + self.square) / self.n

    def ridges(
        self, towards: Float[Tensor, "R d_clip"], strengths: Iterable[float]
    ) -> Iterator[Float[Tensor, "R d_clip"]]:
        """Solve the normal equations."""
        rest, scale = self.cross - self.inner @ towards, float(self.inner.diagonal().mean())
        for strength in strengths:
            yield towards + _solve(self.inner, strength * scale, rest)

    def alone(self, blocks: Sequence[slice], strength: float) -> Float[Tensor, "R d_clip"]:
        """Take the constant out of blocks of x^T x, and of x^T t."""
        inner, cross = self.inner, self.cross
        share = inner[-1] / inner[-1, -1]
        found = torch.zeros_like(cross)
        for block in blocks:
            own = inner[block, block]
            centered = own - torch.outer(share[block], inner[-1, block])
            found[block] = _alone(centered, cross[block] - torch.outer(share[block], cross[-1]), own, strength)
        fitted, goal = inner @ found, cross - torch.outer(share, cross[-1])
        square = (found * fitted).sum() - (share @ found).square().sum() * inner[-1, -1]
        return _scaled(found, (found * goal).sum(), square, (cross[-1], fitted[-1], inner[-1, -1]))

    def _add(self, x: Float[Tensor, "n R"], target: Float[Tensor, "n d_clip"]) -> None:
        for start in range(0, self.width, STRIPE):  # half of what is symmetric
            self._upper[start : start + STRIPE, start:].addmm_(x[:, start : start + STRIPE].T, x[:, start:])
        self._mirrored = False
        self.cross.addmm_(x.T, target)

    def _merge(self, other: Any) -> None:
        self._upper += other._upper
        self._mirrored = False
        self.cross += other.cross

    def _over(self, ranks: Ranks) -> None:
        self._upper, self.cross = ranks.all_reduce(self._upper), ranks.all_reduce(self.cross)
        self._mirrored = False


class Rows(Moments):
    """x and t themselves: smaller than their sums, and faster to solve with, for fewer than R images."""

    def __init__(self, wide: int, d: int, d_clip: int) -> None:
        super().__init__(wide, d, d_clip)
        self._parts: list[tuple[Tensor, Tensor]] = []

    def both(self) -> tuple[Float[Tensor, "n R"], Float[Tensor, "n d_clip"]]:
        """x and t of all images so far."""
        if len(self._parts) > 1:
            xs, targets = zip(*self._parts, strict=True)
            self._parts = [(torch.cat(xs), torch.cat(targets))]
        return self._parts[0] if self._parts else (self.whole.new_zeros(0, self.width), self.whole[:0])

    def error(self, weight: Float[Tensor, "R d_clip"]) -> float:
        """As it is defined."""
        x, target = self.both()
        return float((x @ weight - target).square().sum()) / self.n

    def ridges(
        self, towards: Float[Tensor, "R d_clip"], strengths: Iterable[float]
    ) -> Iterator[Float[Tensor, "R d_clip"]]:
        """Solve the dual form: W - towards is x^T times the solution of (x x^T + l) y = t - x towards."""
        x, target = self.both()
        gram, rest = x @ x.T, target - x @ towards
        scale = float(gram.diagonal().sum()) / self.width
        for strength in strengths:
            yield towards + x.T @ _solve(gram, strength * scale, rest)

    def alone(self, blocks: Sequence[slice], strength: float) -> Float[Tensor, "R d_clip"]:
        """Take the constant out of x and t."""
        x, target = self.both()
        one = x[:, -1]
        without = [each - torch.outer(one, one @ each) / (one @ one) for each in (x, target)]
        centered, goal = without
        found = torch.zeros_like(x.T @ target)
        for block in blocks:
            own, part = x[:, block], centered[:, block]
            found[block] = _alone(part.T @ part, part.T @ goal, own.T @ own, strength)
        fitted = centered @ found
        constant = (one @ target, one @ (x @ found), one @ one)
        return _scaled(found, (fitted * goal).sum(), fitted.square().sum(), constant)

    def _add(self, x: Float[Tensor, "n R"], target: Float[Tensor, "n d_clip"]) -> None:
        self._parts.append((x, target))

    def _merge(self, other: Any) -> None:
        self._add(*other.both())

    def _over(self, ranks: Ranks) -> None:
        """Images in the order of the processes."""
        x, target = self.both()
        counts = ranks.all_gather(len(x))
        start = sum(counts[: ranks.rank])
        parts = []
        for own in (x, target):
            everything = own.new_zeros(sum(counts), own.shape[1])
            everything[start : start + len(own)] = own
            parts.append(ranks.all_reduce(everything))
        self._parts = [(parts[0], parts[1])]


def width(spans: Sequence[Span], d: int) -> int:
    """Coordinates of all components together."""
    return sum(len(span.rows) * (d if span.basis is None else span.basis.shape[2]) for span in spans)


def _alone(
    centered: Float[Tensor, "r r"], cross: Float[Tensor, "r d_clip"], whole: Float[Tensor, "r r"], strength: float
) -> Float[Tensor, "r d_clip"]:
    """Solve a ridge regression on one component; a component that does not vary predicts nothing."""
    scale = float(centered.diagonal().mean())
    if scale <= VARIES * float(whole.diagonal().mean()):
        return torch.zeros_like(cross)
    rank = max(int(torch.linalg.matrix_rank(centered, hermitian=True, rtol=VARIES)), 1)
    return _solve(centered, strength * scale * len(centered) / rank, cross)


def _scaled(
    found: Float[Tensor, "R d_clip"], gain: Tensor, square: Tensor, constant: tuple[Tensor, Tensor, Tensor]
) -> Float[Tensor, "R d_clip"]:
    """Scale regressions so that their sum is nearest to the target, and set the constant's row behind them."""
    scale = gain / square.clamp(min=torch.finfo(square.dtype).tiny)
    target, fitted, one = constant
    return torch.cat([scale * found[:-1], (target - scale * fitted)[None] / one])


def _solve(square: Float[Tensor, "m m"], penalty: float, right: Float[Tensor, "m d_clip"]) -> Float[Tensor, "m d_clip"]:
    penalised = square.clone()
    penalised.diagonal().add_(penalty)
    solved: Tensor = torch.cholesky_solve(right, torch.linalg.cholesky(penalised))
    return solved
