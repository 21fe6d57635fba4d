"""Sizes of contributions, measured on a sample of the images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitdecomp._utils.progress import Stage, unseen
from vitdecomp_alignment.app.session import Session

SAMPLE = 1024  # images
RUNS = 4  # of neighboring images: each reads a whole block of every column, whose checksum is compared


def sample(n: int) -> tuple[range, ...]:
    """Return runs of n images that are spread over all of them."""
    if n <= SAMPLE:
        return (range(n),)
    size = SAMPLE // RUNS
    return tuple(range(start, start + size) for start in (i * (n - size) // (RUNS - 1) for i in range(RUNS)))


def measured(session: Session, stage: Stage = unseen) -> Mapping[str, tuple[float, float]]:
    """Measure the mean norm of every component, and its share of the variance of all."""

    def measure() -> dict[str, tuple[float, float]]:
        store, runs = session.store, sample(len(session.store))
        read: list[list[Tensor]] = [[] for _ in store.components]
        with stage("norms") as progress:
            for done, rows in enumerate(runs):
                for block in store.scan(store.components, len(rows), rows):
                    for some, part, scale in zip(read, block.parts, block.scales, strict=True):
                        some.append(part.double() * scale)
                progress(done + 1, len(runs))
        values = [torch.cat(some) for some in read]
        norms = [float(each.norm(dim=1).mean()) for each in values]
        spread = [float(each.var(0).sum()) for each in values]
        whole = sum(spread) or 1.0
        return {c.name: (norm, v / whole) for c, norm, v in zip(store.components, norms, spread, strict=True)}

    return session.once("measured", measure)
