"""Sentences that a class is put into before a text encoder reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vitdecomp.errors import InputError, SpecError

GAP = "{}"
PLAIN = (GAP,)
TEMPLATES = (
    "a photo of a {}.",
    "a picture of the {}.",
    "a close view of a {}.",
    "a {} seen from afar.",
    "a dark photo of a {}.",
    "a bright photo of a {}.",
    "a drawing of a {}.",
    "many of the {}.",
)


def fill(texts: Iterable[str], templates: Sequence[str]) -> list[str]:
    """Return every text in every template, all of the first text first; other braces stay as they are."""
    return [template.replace(GAP, text) for text in texts for template in templates]


def checked_texts(texts: object) -> tuple[str, ...]:
    """Check that texts are strings.

    Raises:
        InputError: they are one string, none, or something else.
    """
    if isinstance(texts, str):
        raise InputError(f"texts must be a sequence of strings, not one string: give [{texts!r}]")
    if not isinstance(texts, Iterable):
        raise InputError(f"texts must be a sequence of strings, not {type(texts).__name__}")
    found = tuple(texts)
    if not found:
        raise InputError("no texts: give at least one")
    foreign = {type(text).__name__ for text in found if not isinstance(text, str)}
    if foreign:
        raise InputError(f"texts must be strings, but among them there are: {', '.join(sorted(foreign))}")
    return found


def checked_templates(templates: object) -> tuple[str, ...]:
    """Check that each template has one gap.

    Raises:
        InputError: they are no sequence of strings.
        SpecError: one has no gap, or several.
    """
    found = checked_texts(templates)
    for template in found:
        if template.count(GAP) != 1:
            raise SpecError(f"template {template!r} needs one {GAP} for the text, such as 'a photo of a {GAP}.'")
    return found
