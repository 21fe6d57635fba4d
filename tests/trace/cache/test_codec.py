"""What the codec writes it reads again, and nothing is written that has no name."""

from __future__ import annotations

import json
import math
import operator
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from vitdecomp.trace.cache.codec import Reader, Writer, runs
from vitdecomp.trace.cache.named import UnnamedError, name_of, named
from vitdecomp.trace.rule import Gate, Step, shape_of


class Draft(NamedTuple):
    """A gate or step to be made: making one while values are drawn would draw random numbers for its type checks."""

    kind: Any
    fn: Any
    argument: Any


def made(value: Any) -> Any:
    """A value with its drafts carried out."""
    match value:
        case Draft():
            return value.kind(value.fn, (made(value.argument),))
        case tuple() if type(value) is tuple:
            return tuple(map(made, value))
        case list():
            return [made(v) for v in value]
        case dict():
            return {k: made(v) for k, v in value.items()}
    return value


GRAPH = fx.Graph()
NODES = [GRAPH.placeholder("x"), GRAPH.placeholder("y")]
FUNCTIONS = [shape_of, operator.mul, torch.reshape, F.linear, math.ceil, torch.ops.aten.linear.default]
atoms = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.sampled_from(NODES),
    st.sampled_from([torch.float32, torch.bool, torch.strided, torch.channels_last, torch.device("cpu")]),
    st.sampled_from([torch.Size([2, 3]), slice(None, 3), range(4), 2 + 1j, *FUNCTIONS]),
)  # fmt: skip
arguments = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3),
        st.dictionaries(st.integers(), inner, max_size=3),
        st.builds(Draft, st.sampled_from([Gate, Step]), st.sampled_from(FUNCTIONS), inner),
    ),
    max_leaves=12,
)


def again(value: Any) -> Any:
    """A value, written and read."""
    write = Writer({node: i for i, node in enumerate(NODES)})
    root, table = json.loads(json.dumps([write(value), write.table]))
    read = Reader(NODES)
    read.enter(table)
    return read(root)


def types(value: Any) -> Any:
    """The types in a value, which `==` does not tell: 1 is True, and 1.0."""
    return type(value), [types(v) for v in value] if isinstance(value, (tuple, list)) else None


@given(arguments)
def test_what_is_written_is_read(value: Any) -> None:
    value = made(value)
    found = again(value)
    assert found == value
    assert types(found) == types(value)


def test_numbers_that_json_does_not_have() -> None:
    assert again((math.inf, -math.inf)) == (math.inf, -math.inf)
    assert math.isnan(again(math.nan))


def test_gates_that_share_parts_stay_small_however_deep_they_nest() -> None:
    gate = Gate(shape_of, (NODES[0],))
    for _ in range(3000):
        gate = Gate(operator.mul, (gate, gate))
    write = Writer({node: i for i, node in enumerate(NODES)})
    write(gate)
    assert len(write.table) == 3001
    read = Reader(NODES)
    read.enter(write.table)
    assert read.table[-1].args[0] is read.table[-1].args[1]


@pytest.mark.parametrize(
    "value",
    [
        lambda x: x,
        partial(shape_of),
        torch.from_file,
        eval,
        object(),
        torch.zeros(1),
        operator.methodcaller,
    ],
)
def test_what_has_no_name_is_refused(value: Any) -> None:
    with pytest.raises((UnnamedError, TypeError)):
        again((value,))


@pytest.mark.parametrize(
    "name",
    [
        "torch.load", "torch.from_file", "aten.from_file.default", "os:system", "vitdecomp.trace.rule:Gate",
        "vitdecomp.trace.cache.named:importlib", "builtins.eval", "aten", "aten.__class__", "", "operator.attrgetter",
    ],
)  # fmt: skip
def test_a_file_cannot_name_other_code(name: str) -> None:
    with pytest.raises(UnnamedError):
        named(name)


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_a_name_means_the_very_function(fn: Any) -> None:
    assert named(name_of(fn)) is fn


def test_places_are_not_counted_from_behind() -> None:
    with pytest.raises(UnnamedError):
        Reader(NODES)(["node", -1])


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=64, max_size=80), st.sampled_from([tuple, list]))
def test_long_runs_of_numbers_stand_beside_the_json(numbers: list[int], kind: Any) -> None:
    write = Writer({})
    value = (kind(numbers), kind(numbers[:3]), kind([*numbers, 2**63]))
    text = json.dumps(write(value))
    assert len(write.runs()["numbers"]) == len(numbers)
    found = Reader([], numbers=runs(write.runs()))(json.loads(text))
    assert found == value
    assert types(found) == types(value)


@pytest.mark.parametrize("data", [["numbers", "tuple", 0, 5], ["numbers", "tuple", -1, 1], ["numbers", "tuple", 9, 1]])
def test_runs_that_are_not_there(data: Any) -> None:
    with pytest.raises(UnnamedError):
        Reader([], numbers=[1, 2, 3])(data)
