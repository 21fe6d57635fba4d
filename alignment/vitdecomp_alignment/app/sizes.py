"""Sizes of contributions, measured on the sample."""

from __future__ import annotations

from collections.abc import Mapping

from vitdecomp._utils.progress import Stage, unseen
from vitdecomp_alignment.app.session import Session


def measured(session: Session, stage: Stage = unseen) -> Mapping[str, tuple[float, float]]:
    """Measure the mean norm of every component, and its share of the variance of all."""

    def measure() -> dict[str, tuple[float, float]]:
        values = [each.double() for each in session.sample(stage).held]  # in orthonormal bases: norms are equal
        norms = [float(each.norm(dim=1).mean()) for each in values]
        spread = [float(each.var(0).sum()) for each in values]
        whole = sum(spread) or 1.0
        return {c.name: (norm, v / whole) for c, norm, v in zip(session.components, norms, spread, strict=True)}

    return session.once("measured", measure)
