"""Values of linear paths as JSON and back: numbers, tuples, nodes of a graph, functions, and data classes.

Data classes share parts: a gate stands in many steps. So each goes once into a table, in which entries mention earlier
entries alone, and is mentioned by its place there. Everything that JSON does not know is a list that begins with a tag.
Long runs of whole numbers, such as the tokens of a large image, stand beside the JSON, to be kept as one tensor.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.fx.immutable_collections import immutable_dict, immutable_list

from vitdecomp.trace.axes.layout import Axis, Evidence, Layout
from vitdecomp.trace.axes.tokens import TokenAxis, Tokens
from vitdecomp.trace.cache.named import UnnamedError, name_of, named
from vitdecomp.trace.capture import Captured
from vitdecomp.trace.linear_graph import Apply, Leaf, LinearGraph, Sum
from vitdecomp.trace.linearize import Bottleneck
from vitdecomp.trace.naming import Identity
from vitdecomp.trace.passes.partial_sums import Piece, SummedLeaf
from vitdecomp.trace.paths import LinearPaths, Part
from vitdecomp.trace.rule import Gate, Step
from vitdecomp.trace.steps.sums.weighted_sum import WeightedSum

PLAIN = (type(None), bool, int, str)
CLASSES: dict[str, type] = {
    c.__name__: c
    for c in (
        Gate, Step, Leaf, Apply, Sum, LinearGraph, Part, Identity, Layout, Tokens, TokenAxis, SummedLeaf, Piece,
        WeightedSum, Bottleneck, LinearPaths, Evidence,
    )
}  # fmt: skip
TABLED, CAPTURED, NUMBERS = "@", "captured", "numbers"  # the last also names the tensor of long runs
LONG = 64  # whole numbers in a row that JSON would hold badly


@dataclass(slots=True)
class Writer:
    """Makes JSON of values.

    Attributes:
        nodes: the places of a graph's nodes.
        table: the data classes that have been written.
        numbers: long runs of whole numbers, one behind the other.
    """

    nodes: Mapping[fx.Node, int]
    table: list[list[Any]] = field(default_factory=list)
    numbers: array[int] = field(default_factory=lambda: array("q"))
    _places: dict[int, tuple[int, Any]] = field(default_factory=dict)  # by identity, the value kept alive

    def __call__(self, value: Any) -> Any:
        """JSON of one value.

        Raises:
            UnnamedError: there is none.
        """
        kind = type(value)
        if kind is Axis:
            return value.value
        if kind in PLAIN or (kind is float and math.isfinite(value)):
            return value
        if kind.__name__ in CLASSES and CLASSES[kind.__name__] is kind:
            self._enter(value)
            return [TABLED, self._places[id(value)][0]]
        if kind in (tuple, list) and len(value) >= LONG and all(type(part) is int for part in value):
            with suppress(OverflowError):  # JSON knows longer ones
                start = len(self.numbers)
                self.numbers.extend(array("q", value))
                return [NUMBERS, KINDS[kind].tag, start, len(value)]
        if kind in KINDS:
            return [KINDS[kind].tag, *KINDS[kind].write(self, value)]
        return ["fn", name_of(value)]

    def runs(self) -> dict[str, Tensor]:
        """Return the long runs of whole numbers as a tensor, if there are any."""
        return {NUMBERS: torch.tensor(self.numbers, dtype=torch.int64)} if self.numbers else {}

    def _enter(self, value: Any) -> None:
        """Put a data class into the table, behind those that it mentions, however deep they nest."""
        waiting = [value]
        while waiting:
            top = waiting[-1]
            missing = [] if id(top) in self._places else [part for part in _parts(top) if id(part) not in self._places]
            waiting.extend(missing)
            if missing:
                continue
            waiting.pop()
            if id(top) not in self._places:
                self.table.append([type(top).__name__, *(self(getattr(top, name)) for name in _names(type(top)))])
                self._places[id(top)] = (len(self.table) - 1, top)


@dataclass(slots=True)
class Reader:
    """Makes values of JSON.

    Attributes:
        nodes: the nodes of a graph. captured: what stands for the captured graph.
        numbers: long runs of whole numbers, one behind the other.
        table: the data classes that have been read.
    """

    nodes: Sequence[fx.Node]
    captured: Captured | None = None
    numbers: Sequence[int] = ()
    table: list[Any] = field(default_factory=list)

    def __call__(self, data: Any) -> Any:
        """Read the value of JSON.

        Raises:
            UnnamedError, LookupError, TypeError, ValueError: it means nothing.
        """
        if not isinstance(data, list):
            return data
        tag, *parts = data
        return self.table[_place(parts[0])] if tag == TABLED else READERS[tag](self, parts)

    def enter(self, table: Sequence[Sequence[Any]]) -> None:
        """Read a table."""
        for name, *values in table:
            self.table.append(CLASSES[name](*map(self, values)))


class Kind(NamedTuple):
    """How values of one type are written and read: a tag, and the JSON of the parts behind it."""

    tag: str
    write: Callable[[Writer, Any], Sequence[Any]]
    read: Callable[[Reader, list[Any]], Any]


def _several(tag: str, make: Callable[[list[Any]], Any]) -> Kind:
    return Kind(tag, lambda w, value: [w(part) for part in value], lambda r, parts: make([r(part) for part in parts]))


def _of_torch(tag: str, kind: type) -> Kind:
    def read(reader: Reader, parts: list[Any]) -> Any:
        found = getattr(torch, parts[0])
        if not isinstance(found, kind):
            raise UnnamedError(parts[0])
        return found

    return Kind(tag, lambda w, value: [str(value).removeprefix("torch.")], read)


_DICT = Kind(
    "dict",
    lambda w, value: [w(part) for item in value.items() for part in item],
    lambda r, parts: dict(zip(map(r, parts[::2]), map(r, parts[1::2]), strict=True)),
)
_LIST = _several("list", list)
KINDS: dict[type, Kind] = {
    tuple: _several("tuple", tuple),
    torch.Size: _several("size", torch.Size),
    list: _LIST,
    immutable_list: _LIST,
    dict: _DICT,
    immutable_dict: _DICT,
    frozenset: Kind("set", lambda w, value: sorted(map(w, value), key=repr), lambda r, p: frozenset(map(r, p))),
    float: Kind("float", lambda w, value: [repr(value)], lambda r, parts: float(parts[0])),
    complex: Kind("complex", lambda w, v: [w(v.real), w(v.imag)], lambda r, parts: complex(*map(r, parts))),
    slice: Kind("slice", lambda w, v: [w(v.start), w(v.stop), w(v.step)], lambda r, parts: slice(*map(r, parts))),
    range: Kind("range", lambda w, v: [v.start, v.stop, v.step], lambda r, parts: range(*parts)),
    torch.dtype: _of_torch("dtype", torch.dtype),
    torch.layout: _of_torch("layout", torch.layout),
    torch.memory_format: _of_torch("memory", torch.memory_format),
    torch.device: Kind("device", lambda w, value: [str(value)], lambda r, parts: torch.device(parts[0])),
    fx.Node: Kind("node", lambda w, node: [w.nodes[node]], lambda r, parts: r.nodes[_place(parts[0])]),
    Captured: Kind(CAPTURED, lambda w, value: [], lambda r, parts: r.captured),
}
READERS: dict[str, Callable[[Reader, list[Any]], Any]] = {
    **{kind.tag: kind.read for kind in KINDS.values()},
    "fn": lambda r, parts: named(parts[0]),
    NUMBERS: lambda r, parts: _run(r, *parts),
}


def runs(tensors: Mapping[str, Tensor]) -> list[int]:
    """Read what `Writer.runs` wrote."""
    found: list[int] = tensors[NUMBERS].tolist() if NUMBERS in tensors else []
    return found


def _run(reader: Reader, tag: str, start: int, length: int) -> Any:
    """Read a long run of whole numbers."""
    found = [*reader.numbers[_place(start) : start + _place(length)]]
    if len(found) != length:
        raise UnnamedError(f"numbers {start} to {start + length} of {len(reader.numbers)}")
    return READERS[tag](reader, found)


def _place(number: int) -> int:
    """Check a place in a table: a negative one would count from the end."""
    if number < 0:
        raise UnnamedError(f"no place {number!r}")
    return number


def _names(kind: type) -> tuple[str, ...]:
    """Return the fields of a data class or a named tuple."""
    if is_dataclass(kind):
        return tuple(f.name for f in fields(kind))
    named_fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    return named_fields


def _parts(value: Any) -> Iterator[Any]:
    """Yield the data classes that a data class mentions directly."""
    waiting = [getattr(value, name) for name in _names(type(value))]
    while waiting:
        here = waiting.pop()
        if CLASSES.get(type(here).__name__) is type(here):
            yield here
        elif isinstance(here, (tuple, list, frozenset)):
            waiting.extend(here)
        elif isinstance(here, dict):
            waiting.extend(here.values())
