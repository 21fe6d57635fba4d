"""Weights whose names begin otherwise than the model's: tried, taken where all fits, and said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vitdecomp.errors import LoadError
from vitdecomp.models.adapter import LoadedModel
from vitdecomp_adapters.huggingface.describe import UnfilledError
from vitdecomp_adapters.huggingface.weights import Filled, Renaming, renamings


def fitting(read: Callable[[Renaming | None], Filled], told: Callable[[Filled], LoadedModel], spec: str) -> LoadedModel:
    """Load a model from its files, with other beginnings of the names if it takes these to fill what counts.

    Args:
        read: the files into a model.
        told: the model with its outputs, checked.
        spec: for messages.

    Raises:
        UnfilledError: nothing makes the files fit.
        LoadError: the files hold several models.
    """
    filled = read(None)
    try:
        return told(filled)
    except UnfilledError as error:
        failed = [(len(filled.unfilled), error)]
    found: dict[str, LoadedModel] = {}
    for renaming in renamings(filled):
        renamed = read(renaming)
        try:
            loaded = told(renamed)
        except UnfilledError as error:
            failed.append((len(renamed.unfilled), UnfilledError(f"{error}. Before that, {renaming}")))
            continue
        found[renaming.old] = replace(loaded, notes=(*loaded.notes, str(renaming)))
        if renaming.averaged:
            return found[renaming.old]
    if not found:
        raise min(failed, key=lambda one: one[0])[1]
    if len(found) > 1:
        raise LoadError(f"{spec}: the files hold several models, whose names begin with {', '.join(found)}; keep one")
    return next(iter(found.values()))
