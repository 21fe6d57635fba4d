"""Names of components, with how sure they are: what can be read from them, or what they vary along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vitdecomp._utils.progress import Stage
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.app.sizes import sample
from vitdecomp_alignment.readout.readout import Readout
from vitdecomp_alignment.textspan.textspan import TextSpan

TEXTS = 5  # of each component


def is_readable(session: Session) -> bool:
    """Tell whether CLIP's own vectors of the images are at hand: of a CLIP itself, or kept in the store."""
    return session.found.aligner is None or session.space.spec in session.store.vectors_of


def seen(session: Session) -> Tensor | None:
    """Return CLIP's own vectors of the images, where they are at hand."""

    def read() -> Tensor:
        store = session.store
        return store.embedding() if session.found.aligner is None else store.vectors(session.space.spec)[0]

    return session.once("seen", read) if is_readable(session) else None


def name_components(session: Session, components: Sequence[Component], stage: Stage) -> dict[str, dict[str, Any]]:
    """Name components, each only once.

    Returns:
        For each by its name: `method`; `texts` with `r2` and its `error`, `named` and `control` where similarities with
        CLIP's vectors are read out; `texts` with the share `explained` where only maps are at hand.
    """
    known: dict[str, dict[str, Any]] = session.once("names", dict)
    new = [c for c in components if c.name not in known and not c.is_constant]
    if new:
        vectors = seen(session)
        with stage("reading texts out") as progress:
            for done, component in enumerate(new):
                known[component.name] = (
                    _spanned(session, component) if vectors is None else _read(session, vectors, component)
                )
                progress(done + 1, len(new))
    return {c.name: known[c.name] for c in components if c.name in known}


def _read(session: Session, vectors: Tensor, component: Component) -> dict[str, Any]:
    labels, texts = session.pool
    readout = Readout(m=TEXTS, random_state=session.options.seed)
    reading = readout.fit(session.store, vectors, texts, labels, components=[component]).readings_[0]
    found = zip(reading.indices, reading.scores, reading.errors, strict=True)
    return {
        "method": "readability",
        "named": reading.named,
        "control": reading.control,
        "texts": [{"text": labels[i], "r2": r2, "error": error} for i, r2, error in found],
    }


def _spanned(session: Session, component: Component) -> dict[str, Any]:
    labels, texts = session.pool
    source = session.found.source
    parts = [source.take(rows).select(lambda c: c == component) for rows in sample(len(session.store))]
    span = TextSpan(m=TEXTS).fit(Contributions.joined(parts), texts, labels).spans_[0]
    pairs = zip(span.indices, span.explained.tolist(), strict=True)
    return {"method": "variance", "texts": [{"text": labels[i], "explained": share} for i, share in pairs]}


def centers(session: Session, components: Sequence[Component]) -> Tensor:
    """Return the mean contribution of components in the space of texts, on the sample, `(component, d)`."""

    def mean() -> Tensor:
        parts = [session.found.source.take(rows).values.double().mean(0) for rows in sample(len(session.store))]
        return torch.stack(parts).mean(0)

    place = {c: i for i, c in enumerate(session.found.source.components)}
    means: Tensor = session.once("centers", mean)
    return means[[place[c] for c in components]]
