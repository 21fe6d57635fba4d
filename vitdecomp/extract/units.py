"""Directions of the components of a store."""

from __future__ import annotations

from collections.abc import Callable

from vitdecomp.models.prepare import PreparedModel
from vitdecomp.sources.source import Source
from vitdecomp.units import AskedDirections, Directions, PrincipalDirections


def find_directions(asked: AskedDirections, source: Source, model: Callable[[], PreparedModel]) -> Directions:
    """Find the directions of the components of a source.

    Args:
        asked: which directions.
        source: contributions by head.
        model: loads the model, which only singular directions need.

    Raises:
        InputError: fewer than two images.
    """
    if asked.kind == "principal":
        return PrincipalDirections(asked.k).fit(source).directions_
    from vitdecomp.decompose import Decomposer  # the tracer takes longer to import than a search in a store

    prepared = model()
    image = prepared.example(None, 1)[0]
    return asked.fit(Decomposer(prepared.loaded).fit(image), image)
