"""An aligner by its name, with settings as they are typed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, get_args, get_type_hints

from vitdecomp._utils.registry import did_you_mean
from vitdecomp.errors import SpecError
from vitdecomp.sources.aligner import aligners
from vitdecomp_alignment.aligners.linear import LinearAligner

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}
SEED = "random_state"
PLAIN = ("true", "false", "null")


def make_aligner(method: str, seed: int, settings: Sequence[str] = ()) -> LinearAligner:
    """Make an aligner by its name, with some of its arguments as `NAME=VALUE`.

    Raises:
        SpecError: there is none, or it has no maps that could be saved, or no such argument.
        LoadError: its plugin cannot be imported.
    """
    known = aligners()
    name = method if method in known else method.replace("_", "-")
    if name not in known and name not in known.broken:
        raise SpecError(f"no aligner {method!r}{did_you_mean(name, list(known))}; there are: {', '.join(known)}")
    aligner = known[name]
    if not issubclass(aligner, LinearAligner):
        raise SpecError(f"{method} is no linear aligner: use it in Python")
    made = aligner()
    kinds = get_type_hints(aligner.__init__)
    takes = {argument: kinds.get(argument, Any) for argument in made.get_params()}
    given = {SEED: seed} if SEED in takes else {}
    made.set_params(**given | dict(parse_setting(text, takes) for text in settings))
    return made


def parse_setting(text: str, known: Mapping[str, Any]) -> tuple[str, Any]:
    """Parse an argument and its value: a number, true, false or null as in JSON, or a word."""
    name, given, word = text.partition("=")
    if not given or name not in known:
        near = get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        listed = ", ".join(f"{key} ({_wanted(kind)})" for key, kind in known.items())
        raise SpecError(f"--set takes NAME=VALUE, not {text!r}{meant} (settings: {listed})")
    value: Any = word
    kinds = get_args(known[name]) or (known[name],)
    with suppress(ValueError):  # .5 and 1. are numbers too, but not in JSON
        value = json.loads(word) if float not in kinds or word in PLAIN else float(word)
    if not any(kind is Any or type(value) is kind or (kind, type(value)) == (float, int) for kind in kinds):
        raise SpecError(f"--set {name} takes {_wanted(known[name])}, not {word!r}")
    return name, value


def _wanted(kind: Any) -> str:
    """Describe the kinds of values that a setting takes; those that cannot be typed are left out."""
    return " or ".join(KINDS[one] for one in get_args(kind) or (kind,) if one in KINDS) or "any value"
