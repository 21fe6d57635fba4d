"""What the page is told first: the model, its components, and what can be asked."""

from __future__ import annotations

from typing import Any

from vitdecomp.heatmaps import explainers
from vitdecomp.heatmaps.explainer import EXPLAINERS
from vitdecomp_alignment.app.names import is_readable
from vitdecomp_alignment.app.session import Session


def overview(session: Session) -> dict[str, Any]:
    """Describe a session as plain values."""
    methods = [name for name in explainers() if name not in EXPLAINERS.broken]
    reading = session.config.reading
    return {
        "model": session.options.model,
        "clip": session.space.spec,
        "maps": session.found.aligner is not None,
        "store": reading.store,
        "world": reading.store is None and reading.images is None,
        "images": len(session.store),
        "skipped": len(session.found.skipped),
        "dimension": session.store.dimension,
        "components": [
            {
                "name": c.name,
                "kind": c.kind,
                "block": c.block,
                "head": c.head,
                "constant": c.is_constant,
            }
            for c in session.components
        ],
        "features": {name: list(words) for name, words in session.words.items()},
        "methods": methods,
        "able": [name for name in methods if EXPLAINERS[name].takes_components],
        "readable": is_readable(session),
        "thumbnails": session.pictures is not None or bool(session.config.folders),
        "cue": _cue(session),
    }


def _cue(session: Session) -> dict[str, str]:
    """Return which labelled images there are, and words to begin with: those of the scenes, unless others are given."""
    if session.config.labelled is not None:
        return {"images": f"the images of {session.config.labelled.resolve().name}", "spurious": "", "core": ""}
    scenes = "drawn scenes of the embedded world (vitdecomp app --data names others)"
    return {"images": scenes, "spurious": "water, snow, forest, sand", "core": "circle, heart, star, square"}
