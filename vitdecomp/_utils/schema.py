"""Records read from JSON: a data class's own annotations are the schema that a file is checked against."""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vitdecomp._utils.limits import HEADER, check_size
from vitdecomp.errors import InputError

T = TypeVar("T")
Read = Callable[[Any, str], Any]  # a value of JSON and its path to what stands for it
LARGEST = sys.float_info.max
SHOWN = 40  # characters of a wrong value in a message
VERSION = "schema"  # the field that tells the version of a format
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # a tab and a new line are text


@dataclass(frozen=True, slots=True)
class Within:
    """Bounds of a number (or of a text's length), both included: `Annotated[int, Within(0)]`."""

    least: float | int
    most: float | int = float("inf")

    def __contains__(self, value: float | int | str) -> bool:
        return self.least <= (len(value) if isinstance(value, str) else value) <= self.most

    def __str__(self) -> str:
        if self.most == LARGEST:
            return "that is finite"
        return f"of {self.least:,} or more" if self.most == float("inf") else f"from {self.least:,} to {self.most:,}"


Count = Annotated[int, Within(0, 2**48)]
Dimension = Annotated[int, Within(1, 2**24)]
Name = Annotated[str, Within(0, 4096)]  # what stands in a message
Finite = Annotated[float, Within(-LARGEST, LARGEST)]


@dataclass(frozen=True, slots=True)
class Versioned:
    """A record that tells the version of its format; headers of files inherit from it.

    Attributes:
        schema: the version.
    """

    schema: int


class UnfitError(ValueError):
    """A value that is not what its field declares."""

    def __init__(self, path: str, told: str) -> None:
        super().__init__(f"{path.removeprefix('.') or 'the whole'} {told}")


def from_json(
    text: str | bytes,
    kind: type[T],
    *,
    place: str,
    remedy: str,
    versions: Collection[int] | None = None,
    most: int = HEADER,
) -> T:
    """Read a record, every field of which has the type and lies within the bounds that its class declares.

    Data classes nest. Their fields may be plain values, `Literal`, `X | None`, `tuple[X, ...]`, `list[X]`,
    `Mapping[str, X]`, `Annotated[X, Within(...)]` and `Any`. A field with a default may be missing, and no field may be
    there that the class does not declare.

    Args:
        text: JSON.
        kind: the data class.
        place: the file, for messages.
        remedy: what to do about a bad one, for messages, such as "make it again with `vitdecomp align`".
        versions: of the format, that are known; the record tells its own in the field `schema`.
        most: bytes that are read.

    Raises:
        InputError: it is too large, no JSON, of another version, or not such a record; names the file and the field.
    """
    value = plain(text, place=place, remedy=remedy, most=most)
    found: T = checked(value, kind, place=place, remedy=remedy, versions=versions)
    return found


def plain(text: str | bytes, *, place: str, remedy: str, most: int = HEADER) -> Any:
    """Read JSON whose content is not known.

    Raises:
        InputError: it is none, or too large.
    """
    check_size(len(text), most, f"the header of {place}", remedy)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is damaged: its header is not JSON ({error}); {remedy}") from error


def checked(value: Any, kind: Any, *, place: str, remedy: str, versions: Collection[int] | None = None) -> Any:
    """Read a record from values of JSON, as `from_json` does from its text; `kind` may be any annotation.

    Raises:
        InputError: as for `from_json`.
    """
    if versions is not None and isinstance(value, Mapping) and VERSION in value:
        told = value[VERSION]
        if type(told) is int and told not in versions:
            known = ", ".join(map(str, sorted(versions)))
            newer = "update vitdecomp, or " if told > max(versions) else ""
            raise InputError(f"{place} has schema {told}, and this version of vitdecomp reads {known}: {newer}{remedy}")
    try:
        return _reader(kind)(value, "")
    except UnfitError as error:
        raise InputError(f"{place} does not fit its format: {error}; {remedy}") from error


@lru_cache(maxsize=256)
def _reader(hint: Any) -> Read:
    """Make what reads values of one annotation."""
    if hint in PLAIN:
        return PLAIN[hint]
    kind = get_origin(hint)
    if kind in COMPOUND:
        return COMPOUND[kind](*get_args(hint))
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint)
    raise TypeError(f"no field of a record can be {hint}")  # a mistake of the one who declares it


def _plain(types_: tuple[type, ...], noun: str, make: Callable[[Any], Any] = lambda value: value) -> Read:
    def read(value: Any, path: str) -> Any:
        if type(value) not in types_:  # True is no number here
            raise _wrong(value, path, noun)
        try:
            return make(value)
        except OverflowError:
            raise _wrong(value, path, noun) from None

    return read


def _text(value: Any, path: str) -> str:
    """Text that can be shown: control sequences of a stranger's file never reach the terminal."""
    if type(value) is not str:
        raise _wrong(value, path, "a text")
    if CONTROL.search(value):
        raise _wrong(value, path, "a text without control characters")
    return value


def _annotated(hint: Any, *bounds: Any) -> Read:
    inner = _reader(hint)
    within = [bound for bound in bounds if isinstance(bound, Within)]

    def read(value: Any, path: str) -> Any:
        found = inner(value, path)
        for bound in within:
            if found not in bound:
                noun = "a text with a length" if isinstance(found, str) else "a number"
                raise _wrong(value, path, f"{noun} {bound}")
        return found

    return read


def _union(*hints: Any) -> Read:
    readers, optional = [], type(None) in hints
    for hint in hints:
        with suppress(TypeError):  # what JSON cannot hold is no alternative in a file
            readers += [] if hint is type(None) else [_reader(hint)]
    if not readers:
        raise TypeError(f"no field of a record can be {hints}")

    def read(value: Any, path: str) -> Any:
        if value is None and optional:
            return None
        for reader in readers[:-1]:
            try:
                return reader(value, path)
            except UnfitError:
                continue
        return readers[-1](value, path)

    return read


def _literal(*choices: Any) -> Read:
    def read(value: Any, path: str) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise _wrong(value, path, " or ".join(map(json.dumps, choices)))
        return value

    return read


def _tuple(*hints: Any) -> Read:
    if len(hints) != 2 or hints[1] is not ...:
        raise TypeError("a list of a record is a tuple[X, ...]")
    inner = _reader(hints[0])

    def read(value: Any, path: str) -> Any:
        return tuple(_items(inner, value, path))

    return read


def _list(hint: Any) -> Read:
    inner = _reader(hint)
    return lambda value, path: list(_items(inner, value, path))


def _items(read: Read, value: Any, path: str) -> Iterator[Any]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(value, path, "a list")
    return (read(item, f"{path}[{i}]") for i, item in enumerate(value))


def _mapping(key: Any, hint: Any) -> Read:
    if key is not str:
        raise TypeError("the keys of JSON are strings")
    inner = _reader(hint)

    def read(value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong(value, path, "an object")
        return {_text(name, path): inner(item, f"{path}.{name[:SHOWN]}") for name, item in value.items()}

    return read


def _record(kind: type) -> Read:
    hints = get_type_hints(kind, include_extras=True)
    readers = {f.name: _reader(hints[f.name]) for f in fields(kind) if f.init}
    needed = [f.name for f in fields(kind) if f.init and f.default is MISSING and f.default_factory is MISSING]

    def read(value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong(value, path, "an object")
        for name in needed:
            if name not in value:
                raise UnfitError(path, f"has no field {name!r}")
        for name in value:
            if name not in readers:
                raise UnfitError(path, f"has a field {name[:SHOWN]!r} that is unknown")
        return kind(**{name: readers[name](item, f"{path}.{name}") for name, item in value.items()})

    return read


def _wrong(value: Any, path: str, noun: str) -> UnfitError:
    """Make the error for a value; JSON shows it on one line, without control characters."""
    text = "".join(_encoded(value))
    return UnfitError(path, f"is {text if len(text) <= SHOWN else text[:SHOWN] + '...'}, not {noun}")


def _encoded(value: Any) -> Iterator[str]:
    """Yield the first characters of a value's JSON, however large it is."""
    length = 0
    for part in json.JSONEncoder(default=repr).iterencode(value):
        yield part[: SHOWN + 1]
        length += len(part)
        if length > SHOWN:
            return


PLAIN: dict[Any, Read] = {
    Any: lambda value, path: value,
    bool: _plain((bool,), "true or false"),
    int: _plain((int,), "a whole number"),
    float: _plain((int, float), "a number", float),
    str: _text,
}
COMPOUND: dict[Any, Callable[..., Read]] = {
    Annotated: _annotated,
    Union: _union,
    types.UnionType: _union,
    Literal: _literal,
    tuple: _tuple,
    list: _list,
    dict: _mapping,
    Mapping: _mapping,
}
