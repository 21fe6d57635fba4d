"""Names of components, with how sure they are: what can be read from them, or what they vary along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vitdecomp._utils.progress import Progress, Stage
from vitdecomp.component import Component
from vitdecomp.contributions import Contributions
from vitdecomp.sources.held import Held
from vitdecomp_alignment.app.sample import sample
from vitdecomp_alignment.app.session import Session
from vitdecomp_alignment.readout.readout import Readout
from vitdecomp_alignment.textspan.textspan import TextSpan

TEXTS = 5  # of each component


def is_readable(session: Session) -> bool:
    """Tell whether CLIP's own vectors of the images are at hand: of a CLIP itself, or kept in the store."""
    return session.found.aligner is None or session.space.spec in session.store.vectors_of


def seen(session: Session) -> Tensor | None:
    """Return CLIP's own vectors of the images of the sample, where they are at hand."""

    def read() -> Tensor:
        store, runs = session.store, sample(len(session.store))
        if session.found.aligner is None:
            return torch.cat([store.embedding(rows) for rows in runs])
        vectors, _ = store.vectors(session.space.spec)
        return torch.cat([vectors[rows.start : rows.stop] for rows in runs])

    return session.once("seen", read) if is_readable(session) else None


def name_components(session: Session, components: Sequence[Component], stage: Stage) -> dict[str, dict[str, Any]]:
    """Name components by the images of the sample, each only once.

    Returns:
        For each by its name: `method`; `texts` with `r2` and its `error`, `named` and `control` where similarities with
        CLIP's vectors are read out; `texts` with the share `explained` where only maps are at hand.
    """
    known: dict[str, dict[str, Any]] = session.once("names", dict)
    new = [c for c in components if c.name not in known and not c.is_constant]
    if new:
        vectors, some = seen(session), session.sample(stage)
        with stage("reading texts out") as progress:
            if vectors is not None:
                known.update(_read(session, some, vectors, new, progress))
            for done, component in enumerate(new if vectors is None else ()):
                known[component.name] = _spanned(session, some, component)
                progress(done + 1, len(new))
    return {c.name: known[c.name] for c in components if c.name in known}


def _read(
    session: Session, some: Held, vectors: Tensor, components: Sequence[Component], progress: Progress
) -> dict[str, dict[str, Any]]:
    labels, texts = session.pool
    readout = Readout(m=TEXTS, random_state=session.options.seed)
    readout.fit(some, vectors, texts, labels, components=components, progress=progress)
    return {
        component.name: {
            "method": "readability",
            "named": reading.named,
            "control": reading.control,
            "texts": [
                {"text": labels[i], "r2": r2, "error": error}
                for i, r2, error in zip(reading.indices, reading.scores, reading.errors, strict=True)
            ],
        }
        for component, reading in zip(components, readout.readings_, strict=True)
    }


def _spanned(session: Session, some: Held, component: Component) -> dict[str, Any]:
    labels, texts = session.pool
    a, basis, aligner = some.coefficients(component, range(len(some))), some.basis(component), session.found.aligner
    if aligner is not None:
        values = a @ aligner.restricted(component, basis).cpu().to(a)
    else:
        values = a if basis is None else a @ basis.to(a).T
    c = Contributions(values[:, None], (component,), torch.zeros(len(a), dtype=torch.float64))
    span = TextSpan(m=TEXTS).fit(c, texts, labels).spans_[0]
    pairs = zip(span.indices, span.explained.tolist(), strict=True)
    return {"method": "variance", "texts": [{"text": labels[i], "explained": share} for i, share in pairs]}


def centers(session: Session, components: Sequence[Component]) -> Tensor:
    """Return the mean contribution of components in the space of texts, on the sample, `(component, d)`."""

    def mean() -> Tensor:
        return session.in_space(session.sample().mean()).take([0]).values[0].double()

    means = session.once("centers", mean)
    place = {c: i for i, c in enumerate(session.found.source.components)}
    return means[[place[c] for c in components]]
