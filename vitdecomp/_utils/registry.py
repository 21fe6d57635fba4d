"""A table of named things that refuses duplicates and suggests the name that was meant."""

from __future__ import annotations

import heapq
import logging
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from difflib import SequenceMatcher
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from vitdecomp.errors import LoadError, SpecError

K = TypeVar("K")
V = TypeVar("V")
OLD_GROUPS = {  # still read, with a warning
    "vitdecomp.executors": ("vitdecomp.engines", "vitdecomp.align_engines"),
    "vitdecomp.commands": ("vitdecomp.verbs",),
}
logger = logging.getLogger(__name__)
LIKELY = 0.6  # from this likeness on, a name may be what was meant


class Registry(Generic[K, V]):
    """Names (or operators) to entries.

    Args:
        noun: what an entry is called in messages, such as `"adapter"`.
        group: the entry points by which installed packages offer further entries; none if it is empty.

    Attributes:
        broken: plug-ins that cannot be imported, by name, and why.
    """

    def __init__(self, noun: str, group: str = "") -> None:
        self.noun, self.group = noun, group
        self.broken: dict[str, LoadError] = {}
        self._entries: dict[K, V] = {}
        self._complete = not group

    def add(self, key: K, value: V, *, replace: bool = False) -> V:
        """Store an entry.

        Raises:
            SpecError: the key is taken and `replace` is not set.
        """
        if not replace and self._entries.get(key, value) is not value:
            raise SpecError(f"{self.noun} {key!s} is registered already; pass replace=True to take its place")
        self._entries[key] = value
        return value

    def register(self, *keys: K, replace: bool = False) -> Callable[[V], V]:
        """Decorate an entry to store it under every key."""

        def decorate(value: V) -> V:
            for key in keys:
                self.add(key, value, replace=replace)
            return value

        return decorate

    def remove(self, key: K) -> None:
        """Forget an entry; a key that is not there is no error."""
        self._entries.pop(key, None)

    def get(self, key: K) -> V | None:
        """Return the entry, or `None`."""
        return self._entries.get(key)

    def load_plugins(self, *, warn: bool = False) -> Registry[K, V]:
        """Load what installed packages offer, once; what is loaded registers itself.

        A name that is taken is not loaded. What cannot be imported is passed over, and told where it is asked for.

        Args:
            warn: log it at once.
        """
        if not self._complete:
            self._complete = True  # first, as a plug-in may ask for others while it is imported
            self.broken |= offered(self.group, known=[str(key) for key in self._entries])[1]
            if warn:
                self.warn_of_broken()
        return self

    def warn_of_broken(self) -> None:
        """Log the plug-ins that cannot be imported, where they are missed without being named."""
        for error in self.broken.values():
            logger.warning("%s", error)

    def __getitem__(self, key: K) -> V:
        """Return the entry.

        Raises:
            SpecError: no such key; the message names the nearest ones.
            LoadError: the plug-in of this name cannot be imported.
        """
        if key not in self._entries:
            if str(key) in self.broken:
                broken = self.broken[str(key)]
                raise LoadError(str(broken)) from broken.__cause__
            raise SpecError(f"no {self.noun} {str(key)!r}{did_you_mean(str(key), map(str, self._entries))}")
        return self._entries[key]

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def values(self) -> Iterator[V]:
        """Iterate over the entries, in the order in which they came."""
        return iter(self._entries.values())


def plugin(group: str, noun: str, name: str) -> Any:
    """Load what an installed package offers under a name, by its entry points.

    A group's old names are read too, with a `DeprecationWarning`; the new name takes precedence.

    Args:
        group: of entry points.
        noun: what an entry is called in messages.
        name: of the entry.

    Raises:
        SpecError: there is none; the message names the nearest ones.
        LoadError: it cannot be imported.
    """
    known = _entries(group)
    if name not in known:
        raise SpecError(f"no {noun} {name!r}{did_you_mean(name, sorted(known))}")
    return _loaded(known[name], group)


def offered(group: str, *, known: Collection[str] = ()) -> tuple[dict[str, Any], dict[str, LoadError]]:
    """Load everything that installed packages offer in a group, and pass over what cannot be imported.

    Args:
        group: of entry points.
        known: names that are not loaded.

    Returns:
        What was loaded, by name, and why the others were not.
    """
    found: dict[str, Any] = {}
    broken: dict[str, LoadError] = {}
    for name, entry in _entries(group).items():
        if name not in known:
            try:
                found[name] = _loaded(entry, group)
            except LoadError as error:
                broken[name] = error
    return found, broken


def _entries(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, those of its old names too; the new name takes precedence."""
    groups = (*OLD_GROUPS.get(group, ()), group)  # of equal names the last one counts
    return {entry.name: entry for one in groups for entry in entry_points(group=one)}


def _loaded(entry: EntryPoint, group: str) -> Any:
    if entry.group != group:
        message = f"entry point {entry.name!r} is in the old group {entry.group!r}: move it to {group!r}"
        warnings.warn(message, DeprecationWarning, stacklevel=3)
    try:
        return entry.load()
    except Exception as error:  # a stranger's module may raise anything
        package = "an unknown package" if entry.dist is None else f"package {entry.dist.name}"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise LoadError(
            f"plug-in {entry.name!r} ({group}) of {package} cannot be imported ({reason}): "
            "update or remove the package, or install what it needs"
        ) from error


def did_you_mean(word: str, known: Iterable[str], n: int = 3) -> str:
    """`"; did you mean a, b?"` with the nearest known words, or what there is when nothing is near."""
    choices = list(known)
    scored = [(*_likeness(word, choice), choice) for choice in choices if word]
    near = [choice for best, _, choice in heapq.nlargest(n, scored) if best >= LIKELY]
    if near:
        return f"; did you mean {', '.join(near)}?"
    return f"; there are: {', '.join(choices[:12])}" if choices and len(choices) <= 12 else ""


def _likeness(word: str, choice: str) -> tuple[float, float]:
    """Return how near a word is to the beginning of a name or to all of it, and to all of it, from 0 to 1."""
    whole, beginning = (SequenceMatcher(None, word, text).ratio() for text in (choice, choice[: len(word)]))
    return max(whole, beginning), whole
