"""ClosedForm: maps by least squares, in one pass over the contributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vitdecomp._utils.progress import Clock, Progress
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.errors import InputError, SpecError
from vitdecomp.sources.aligner import register_aligner
from vitdecomp.sources.source import Source
from vitdecomp_alignment.aligners.basis_change import BasisChanges
from vitdecomp_alignment.aligners.broadcast import Values, broadcast
from vitdecomp_alignment.aligners.coefficients import Coefficients
from vitdecomp_alignment.aligners.linear import LinearAligner, check_seed, check_target
from vitdecomp_alignment.aligners.maps import LinearMaps, Span
from vitdecomp_alignment.aligners.spans import broadcast_spans
from vitdecomp_alignment.aligners.sums import Moments, Rows, Sums, width

STRENGTHS = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 1e-2, 1e-4, 1e-6)
TINY = torch.finfo(torch.float32).eps
KEEP = {"shared": 0.95, "own": 2 / 3}
OWN = 0.3  # strength of the ridge of a component alone; from 0.1 to 1 hardly changes a name
EXACT = 1e-8  # squared distance of totals of length one from their targets that is rounding
MOST = 24_000**2  # numbers in a matrix: 4.6 GB
Self = TypeVar("Self", bound="ClosedForm")


@register_aligner("closed-form")
class ClosedForm(LinearAligner):
    """The ridge solution around one orthogonal map, or around what each component tells alone.

    The maps W_i minimise sum |sum_i c_i W_i - z|^2 + l sum_i |W_i - P_i|^2, with totals and targets scaled to length
    one. P_i is Q for all components, the map with orthonormal rows (or columns) that takes the totals nearest to the
    targets (orthogonal Procrustes). Or P_i is a ridge regression of the targets on component i alone, all of them times
    one scale, and a constant is added to the sum; but where Q takes the totals onto the targets, as in a model that is
    aligned with itself, P_i is Q, and the solution is Q. All follows from sums over images, in the components' own
    coordinates (or from the images' coordinates, if they are fewer than dimensions).

    Args:
        prior: `"shared"` for Q: a mapped component is what it adds to the total. `"own"` for the regressions: it is
            what can be read from it, so that names and scores are truer, totals come nearly as near, and components
            repeat what others tell (docs/alignment.md).
        ridge: l, relative to the mean square of a coordinate; `None` chooses it on held-out images.
        keep: how much of what l = 0 gains over the P_i alone has to be kept when l is chosen; of all that do, the
            strongest is taken. Near 1 the totals come nearest to the targets; at 2/3, components keep more of their
            prior, and their names are truer. `None` is 0.95 for `"shared"` and 2/3 for `"own"`.
        max_rank: dimensions of a component at most; by default all that it spans.
        validation_fraction: of the images, held out for the choice of `ridge`.
        batch_size: images read at a time.
        random_state: which images are held out.

    Attributes:
        ridge_: l as used.
    """

    ridge_: float

    def __init__(
        self,
        *,
        prior: str = "shared",
        ridge: float | None = None,
        keep: float | None = None,
        max_rank: int | None = None,
        validation_fraction: float = 0.1,
        batch_size: int = 1024,
        random_state: int = 0,
    ) -> None:
        self.prior, self.ridge, self.keep, self.max_rank = prior, ridge, keep, max_rank
        self.validation_fraction, self.batch_size = validation_fraction, batch_size
        self.random_state = random_state

    @property
    def shows(self) -> str:
        """Tell what the maps show of a component: what can be read from it alone, with its own prior."""
        return "alone" if self.prior == "own" else "added"

    def fit(
        self: Self,
        source: Source,
        target: Tensor,
        *,
        progress: Progress | None = None,
        clock: Clock | None = None,
        ranks: Ranks | None = None,
    ) -> Self:
        """Learn the maps.

        Args:
            source: contributions in memory or on disk; they are read once, in order.
            target: the other model's vectors of the same images, `(n, d_clip)`.
            progress: called with the images done and their number.
            clock: shows every part of the work, and knows afterwards how long each took.
            ranks: processes that share the work, each of which calls this with the same arguments, and learns the
                same: each sums over some of the images, and the first solves.

        Raises:
            RankError: another process has ended.
            InputError: not of the same images, too few, or components that span too many dimensions together.
            SpecError: a ridge that is not positive, or no fraction.
        """
        check_target(source, target)
        self._check()
        clock = clock or Clock()
        kept = Coefficients(source)
        self.maps_ = self.solved(kept, target, clock, ranks or Ranks(), progress=progress)
        with clock("checksum"):
            self.fingerprint_, self.origin_ = source.fingerprint(), source.take(range(1)).origin
        return self

    def solved(
        self,
        kept: Coefficients,
        target: Tensor,
        clock: Clock,
        ranks: Ranks,
        *,
        learned: Int64[np.ndarray, " _"] | None = None,
        progress: Progress | None = None,
    ) -> LinearMaps:
        """Solve for the maps, from the targets of some images or of all; sets what `fit` learns beside them."""
        with clock("spans"):
            spans = broadcast_spans(kept, ranks, max_rank=self.max_rank, seed=self.random_state)
        _refuse_too_wide(self._width(spans, kept.dimension), len(kept))
        known = np.arange(len(kept)) if learned is None else learned
        with clock("sums") as shown:
            rows = _stretch(len(kept), ranks)
            sums, held_out = self.sums(kept, target, spans, rows, known, clock=clock, progress=progress or shown)
            if ranks.world_size > 1:
                sums.over(ranks)
                held_out.over(ranks)
        with clock("solving"):
            found, self.metrics_ = broadcast(ranks, lambda: self._solved(sums, held_out, spans))
        self.ridge_ = self.metrics_["ridge"]
        return _as_maps(kept, spans, found)

    def _solved(self, sums: Moments, held_out: Moments, spans: Sequence[Span]) -> Values:
        ridge = self._best(sums, held_out, spans) if self.ridge is None else self.ridge
        sums.merge(held_out)
        shared, prior = self._priors(sums, spans)
        (weight,) = sums.ridges(prior, [ridge])
        base = _restricted(spans, shared)
        found = {"shared": shared, "correction": weight[: len(base)] - base}
        if not bool(shared.any()):
            found["bias"] = weight[-1]
        return found, {"ridge": ridge, "squared_error_learned": sums.error(weight)}

    def _priors(self, sums: Moments, spans: Sequence[Span]) -> tuple[Tensor, Tensor]:
        """Return the map that all have in common, zero if there is none, and where the ridge pulls theirs."""
        shared = sums.procrustes()
        prior = _restricted(spans, shared)
        if self.prior == "shared":
            return shared, prior
        prior = torch.cat([prior, prior.new_zeros(1, prior.shape[1])])  # the constant's row
        if sums.error(prior) < EXACT:  # a model that is aligned with itself
            return shared, prior
        return torch.zeros_like(shared), sums.alone(_blocks(spans, len(shared)), OWN)

    def _width(self, spans: Sequence[Span], d: int) -> int:
        """Return how many coordinates are solved for: a constant is one more."""
        return width(spans, d) + (self.prior == "own")

    def _check(self) -> None:
        check_seed(self.random_state)
        if self.ridge is not None and self.ridge <= 0:
            raise SpecError(f"ridge must be positive, not {self.ridge}")
        if self.prior not in KEEP:
            raise SpecError(f"prior must be one of {', '.join(KEEP)}, not {self.prior!r}")
        if self.keep is not None and not 0 <= self.keep <= 1:
            raise SpecError(f"keep must be between 0 and 1, not {self.keep}")
        if self.max_rank is not None and self.max_rank < 1:
            raise SpecError(f"max_rank must be 1 or more, not {self.max_rank}")
        if not 0 < self.validation_fraction < 1:
            raise SpecError(f"validation_fraction must be between 0 and 1, not {self.validation_fraction}")

    def sums(
        self,
        kept: Coefficients,
        target: Tensor,
        spans: Sequence[Span],
        rows: range,
        known: Int64[np.ndarray, " _"],
        *,
        clock: Clock,
        progress: Progress,
    ) -> tuple[Moments, Moments]:
        """Sum over the known images among some rows: those that fit the maps, and those that choose the ridge."""
        wide = self._width(spans, kept.dimension)
        kind = Rows if len(known) < wide else Sums
        sums, held_out = (kind(wide, kept.dimension, target.shape[1]) for _ in range(2))
        fitting, choosing = self._parts(len(kept), known)
        coordinates = BasisChanges(kept, spans)
        for some_rows, a in clock.timed("reading", kept.scan(self.batch_size, rows)):
            here = slice(some_rows.start, some_rows.stop)
            goal = target[here].cpu()
            for moments, some in ((sums, fitting[here]), (held_out, choosing[here])):
                x = coordinates(a[some])
                one = (a.new_ones(len(goal[some]), 1),) if self.prior == "own" else ()
                moments.add((*x, *one), kept.total(a[some]), goal[some])
            progress(some_rows.stop - rows.start, len(rows))
        return sums, held_out

    def _parts(self, n: int, known: Int64[np.ndarray, " _"]) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
        """Return which of n images fit the maps, and which choose the ridge; those that are not known do neither."""
        order = known[np.random.default_rng([self.random_state, 1]).permutation(len(known))]
        choosing = max(1, round(len(known) * self.validation_fraction))
        parts = torch.zeros(2, n, dtype=torch.bool)
        parts[0, torch.from_numpy(order[choosing:])] = True
        parts[1, torch.from_numpy(order[:choosing])] = True
        return parts[0], parts[1]

    def _best(self, sums: Moments, held_out: Moments, spans: Sequence[Span]) -> float:
        """Choose the strongest ridge that keeps enough of the gain, so that no map leaves Q for nothing.

        From the strongest on the error falls, and then rises: what comes after that is not tried.
        """
        _, prior = self._priors(sums, spans)
        keep = KEEP[self.prior] if self.keep is None else self.keep
        errors: dict[float, float] = {}
        for strength, weight in zip(STRENGTHS, sums.ridges(prior, STRENGTHS), strict=True):
            errors[strength] = held_out.error(weight)
            if errors[strength] > min(errors.values()) + TINY:
                break
        best, shared = min(errors.values()), held_out.error(prior)
        allowed = best + (1 - keep) * max(shared - best, 0.0) + TINY
        return max(strength for strength, error in errors.items() if error <= allowed)


def _stretch(n: int, ranks: Ranks) -> range:
    """Return a process's share of the images: consecutive ones, which are read fastest."""
    return range(n * ranks.rank // ranks.world_size, n * (ranks.rank + 1) // ranks.world_size)


def _restricted(spans: Sequence[Span], shared: Tensor) -> Float[Tensor, "R d_clip"]:
    return torch.cat([span.restrict(shared).flatten(0, 1) for span in spans])


def _blocks(spans: Sequence[Span], d: int) -> list[slice]:
    """Return the coordinates of each component."""
    sizes = [d if span.basis is None else span.basis.shape[2] for span in spans for _ in span.rows]
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _as_maps(kept: Coefficients, spans: Sequence[Span], found: Mapping[str, Tensor]) -> LinearMaps:
    dtype, shared, correction = kept.dtype, found["shared"], found["correction"]
    shapes = [span.restrict(shared).shape for span in spans]
    ends = np.cumsum([k * r for k, r, _ in shapes])[:-1].tolist()
    pieces = correction.tensor_split(ends)
    return LinearMaps(
        components=kept.source.components,
        shared=shared.to(dtype),
        spans=tuple(Span(s.rows, None if s.basis is None else s.basis.to(dtype)) for s in spans),
        corrections=tuple(p.reshape(shape).to(dtype) for p, shape in zip(pieces, shapes, strict=True)),
        bias=found["bias"].to(dtype) if "bias" in found else None,
    )


def _refuse_too_wide(wide: int, n: int) -> None:
    if wide * min(wide, n) > MOST:
        raise InputError(
            f"the components span {wide:,} dimensions together, too many for the memory: keep fewer of each "
            "(max_rank=64), or fewer components (contributions.select)"
        )
