"""Texts by the name of a pool, or out of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from vitdecomp.errors import InputError
from vitdecomp_alignment.texts.features import FEATURE_WORDS
from vitdecomp_alignment.texts.pools import general_texts, read_texts
from vitdecomp_alignment.texts.scene import scene_texts

EMBEDDED = "scenes:"  # prefix of the models of the embedded world


def _feature_texts() -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for words in FEATURE_WORDS.values() for word in words))


POOLS: Mapping[str, Callable[[], tuple[str, ...]]] = {
    "general": general_texts,
    "scene": scene_texts,
    "features": _feature_texts,
}


def named_texts(name: str) -> tuple[str, ...]:
    """Read the texts of a pool by its name, or of a file.

    Raises:
        InputError: there is no such pool or file, or no text in it.
    """
    if name in POOLS:
        return POOLS[name]()
    if not Path(name).exists():
        raise InputError(f"there are no texts {name!r}: give one of {', '.join(POOLS)}, or a file with one text a line")
    return read_texts(Path(name))


def usual_texts(clip: str) -> tuple[str, ...]:
    """Return the texts that suit a CLIP: `scene` for that of the embedded world, which knows no other words."""
    return named_texts("scene" if clip.startswith(EMBEDDED) else "general")
