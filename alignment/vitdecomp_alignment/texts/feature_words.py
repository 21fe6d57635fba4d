"""Which features a command is about, and the words of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from vitdecomp._utils.limits import TEXTS
from vitdecomp._utils.registry import did_you_mean
from vitdecomp._utils.schema import checked, plain
from vitdecomp.errors import InputError, SpecError
from vitdecomp.images.reading import read_file
from vitdecomp_alignment.texts import FEATURE_WORDS, scene_features

Words = Mapping[str, tuple[str, ...]]
SETS: Mapping[str, Callable[[], Words]] = MappingProxyType(
    {"photographs": lambda: FEATURE_WORDS, "scenes": scene_features}
)

FORM = 'it must hold features with a list of words each, {"name": ["word", ...]}'


@dataclass(frozen=True, slots=True)
class ChosenFeatures:
    """Features with their words.

    Attributes:
        words: of all features. shown: those that were asked for; the others are what these are compared with.
    """

    words: Words
    shown: tuple[str, ...]


def read_features(given: Sequence[str], usual: str) -> ChosenFeatures:
    """Read the features of a command line.

    Args:
        given: each the name of a feature or of a set, `name=word,word`, or a JSON file `{name: [word, ...]}`. None of
            them means the usual set. A feature alone is compared with the others of that set.
        usual: the name of the set where names are looked up first.

    Raises:
        SpecError: a name that means nothing, or a feature that is given twice.
        InputError: no words, or a file that cannot be read.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in (_meant(one, usual) for one in given or [usual]):
        twice = [name for name in part if name in found]
        if twice:
            raise SpecError(f"feature {twice[0]!r} is given twice: name it once")
        found.update(part)
    rivals = SETS[usual]() if len(found) == 1 else {}
    return ChosenFeatures(
        {**found, **{name: words for name, words in rivals.items() if name not in found}}, tuple(found)
    )


def _meant(text: str, usual: str) -> Words:
    """Read the features that one argument stands for."""
    name, equals, words = text.partition("=")
    if equals:
        return {name.strip(): _checked(name.strip(), words.split(","))}
    if text.lower().endswith(".json"):
        return _from_file(Path(text))
    if text in SETS:
        return SETS[text]()
    for known in (SETS[usual](), *(make() for make in SETS.values())):
        if text in known:
            return {text: known[text]}
    names = [*SETS[usual](), *SETS]
    raise SpecError(
        f"no feature {text!r}{did_you_mean(text, names)} (NAME=WORD,WORD gives words of your own, FILE.json several)"
    )


def _from_file(path: Path) -> Words:
    try:
        text = read_file(path, TEXTS).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read features from {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON in UTF-8 ({error})") from error
    held: dict[str, list[str]] = checked(
        plain(text, place=str(path), remedy=FORM), dict[str, list[str]], place=str(path), remedy=FORM
    )
    if not held:
        raise InputError(f"{path} holds no features: {FORM}")
    return {name: _checked(name, words) for name, words in held.items()}


def _checked(name: str, words: Sequence[str]) -> tuple[str, ...]:
    texts = tuple(word.strip() for word in words if word.strip())
    if not name or not texts or len(texts) != len(words):
        raise InputError(f"feature {name!r} needs a name and words, none of them empty: NAME=WORD,WORD")
    return texts
