"""Whose texts a command reads."""

from __future__ import annotations

from pathlib import Path

from vitdecomp.errors import SpecError
from vitdecomp.models.prepare import PreparedModel
from vitdecomp_alignment.clip.maps import MapsToClip
from vitdecomp_alignment.clip.space import ClipSpace

MAPS = "give --maps, which `vitdecomp align --by representation` writes"
MAPS_OR_CLASS = "give --maps, which vitdecomp align writes, or --class"


def text_space(subject: PreparedModel, maps: MapsToClip | None, cache: Path, remedy: str) -> ClipSpace:
    """Return whose texts are read: those of the space that maps lead to, or the model's own.

    Args:
        subject: the model.
        maps: if there are any.
        cache: where vectors of texts are kept.
        remedy: what to give where the model reads none.

    Raises:
        SpecError: the model reads none.
    """
    if maps is not None:
        return maps.space(device=subject.options.device, cache=cache / "texts")
    if subject.loaded.encode_text is None:
        raise SpecError(f"{subject.loaded.spec} reads no texts: {remedy}")
    return ClipSpace(subject.loaded, cache=cache / "texts")
