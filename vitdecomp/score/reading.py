"""One pass over a source of contributions, with all that scores are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from vitdecomp._utils.progress import Progress
from vitdecomp.errors import InputError
from vitdecomp.score.bootstrap import Bootstrap
from vitdecomp.score.directions import Directions
from vitdecomp.score.sums import Sums
from vitdecomp.sources.projected import Projected
from vitdecomp.sources.source import Source


@dataclass(frozen=True, slots=True)
class Reading:
    """What is kept of the images.

    Attributes:
        everything: sums over all. outside: over those that are not in the sample.
        sample: contributions of a few, in coordinates of what all texts span, `(n, component, r)`, float32.
        bootstrap: moments of projections on the features' directions, side by side.
    """

    everything: Sums
    outside: Sums
    sample: Tensor
    bootstrap: Bootstrap


def read(
    source: Source,
    directions: Directions,
    bootstrap: Bootstrap,
    *,
    sample: int,
    batch_size: int,
    seed: int,
    progress: Progress | None = None,
) -> Reading:
    """Read all images once, some at a time.

    Raises:
        InputError: fewer than two images, or contributions with NaN or infinity.
    """
    n, components = len(source), len(source.components)
    if n < 2:
        raise InputError(f"scores need two images at least, not {n}")
    rank, rows = len(directions.span), torch.cat([*directions.bases().values()])
    everything, outside = Sums(components, rank), Sums(components, rank)
    inside, kept = _drawn(n, min(sample, n // 2), seed), []
    for some, x in Projected(source, directions.span, batch_size).scan():
        _check(source, x)
        mine = torch.from_numpy(inside[some.start : some.stop])
        outside.add(x[~mine])
        everything.add(x[mine])
        kept.append(x[mine].float())
        bootstrap.add(x @ rows.T)
        if progress is not None:
            progress(some.stop, n)
    everything.merge(outside)
    return Reading(everything, outside, torch.cat(kept), bootstrap)


def _check(source: Source, x: Float64[Tensor, "n component r"]) -> None:
    if not bool(x.sum().isfinite()):
        wrong = int((~x.isfinite().all(2)).any(0).nonzero()[0])
        raise InputError(f"the contributions of {source.components[wrong]} hold NaN or infinity")


def _drawn(n: int, k: int, seed: int) -> Bool[np.ndarray, " n"]:
    """Return which images are in the sample."""
    inside = np.zeros(n, dtype=bool)
    inside[np.random.default_rng([seed, 5]).permutation(n)[:k]] = True
    return inside
