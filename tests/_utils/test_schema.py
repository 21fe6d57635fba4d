"""What is read from a stranger's JSON has the types and bounds that its record declares, or names the wrong field."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vitdecomp as vd
from vitdecomp._utils.schema import Count, Dimension, Finite, Within, from_json


@dataclass(frozen=True, slots=True)
class Part:
    name: Annotated[str, Within(1, 8)]
    place: Count | None = None


@dataclass(frozen=True, slots=True)
class Record:
    schema: int
    size: Dimension
    parts: tuple[Part, ...]
    figures: Mapping[str, Finite]
    kind: Literal["a", "b"] = "a"
    sure: bool = True
    target: Part | None = None
    rest: Any = None


GOOD = {
    "schema": 2,
    "size": 3,
    "parts": [{"name": "x", "place": 1}, {"name": "y"}],
    "figures": {"error": 1, "loss": 0.5},
    "target": None,
    "rest": [{"a": None}],
}


def read(data):
    text = data if isinstance(data, (str, bytes)) else json.dumps(data)
    return from_json(text, Record, place="some.file", remedy="make it again", versions=(1, 2))


def test_a_record_is_read():
    found = read(GOOD)
    assert found == Record(2, 3, (Part("x", 1), Part("y")), {"error": 1.0, "loss": 0.5}, rest=[{"a": None}])
    assert type(found.figures["error"]) is float
    assert read(json.dumps(asdict(found))) == found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": None}, "size is null, not a whole number"),
        ({"size": True}, "size is true, not a whole number"),
        ({"size": 3.0}, "size is 3.0, not a whole number"),
        ({"size": 0}, "size is 0, not a number from 1 to 16,777,216"),
        ({"size": 10**12}, "size is 1000000000000, not a number from 1"),
        ({"parts": {}}, r"parts is \{\}, not a list"),
        ({"parts": [{"name": "x"}, {"name": 5}]}, r"parts\[1\].name is 5, not a text"),
        ({"parts": [{"name": ""}]}, r"parts\[0\].name is \"\", not a text with a length from 1 to 8"),
        ({"parts": [{"name": "x", "place": -1}]}, r"parts\[0\].place is -1, not a number from 0"),
        ({"parts": [{"place": 1}]}, r"parts\[0\] has no field 'name'"),
        ({"parts": [{"name": "x", "colour": 1}]}, r"parts\[0\] has a field 'colour' that is unknown"),
        ({"figures": []}, r"figures is \[\], not an object"),
        ({"figures": {"error": float("nan")}}, "figures.error is NaN, not a number that is finite"),
        ({"figures": {"error": float("inf")}}, "figures.error is Infinity, not a number that is finite"),
        ({"figures": {"error": 10**400}}, "figures.error is 1000000000.*, not a number"),
        ({"kind": "c"}, 'kind is "c", not "a" or "b"'),
        ({"kind": ["a"]}, r'kind is \["a"\], not "a" or "b"'),
        ({"sure": 1}, "sure is 1, not true or false"),
        ({"target": "x"}, 'target is "x", not an object'),
        ({"target": {"name": "a\x1b[31m"}}, r"target.name is \"a.u001b\[31m\", not a text without control characters"),
        ({"figures": {"\x1b[2J": 1}}, "not a text without control characters"),
        ({"target": {"name": "\ud800"}}, "not a text without control characters"),
        ({"schema": "2"}, 'schema is "2", not a whole number'),
        ({"schema": None}, "schema is null"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(change, told):
    with pytest.raises(vd.InputError, match=f"some.file does not fit its format: .*{told}.*; make it again") as error:
        read(GOOD | change)
    assert "\n" not in str(error.value)
    assert str(error.value).isprintable()


def test_every_field_without_a_default_is_needed():
    for name in ("schema", "size", "parts", "figures"):
        with pytest.raises(vd.InputError, match=f"the whole has no field '{name}'"):
            read({key: value for key, value in GOOD.items() if key != name})


def test_another_version_says_so_before_its_fields_are_looked_at():
    with pytest.raises(vd.InputError, match=r"has schema 3, .* reads 1, 2: update vitdecomp, or make it again"):
        read({"schema": 3, "what": "ever"})
    with pytest.raises(vd.InputError, match=r"has schema 0, .* reads 1, 2: make it again"):
        read({"schema": 0})


@pytest.mark.parametrize("text", ["", "{", "nul", b"\xff\xfe{}", "[" * 100_000, "1" * 5000])
def test_what_is_no_json_says_so(text):
    with pytest.raises(vd.InputError, match=r"some.file is damaged: its header is not JSON"):
        read(text)


@pytest.mark.parametrize("data", [None, 3, "text", [], [GOOD], True])
def test_what_is_no_object_says_so(data):
    with pytest.raises(vd.InputError, match=r"the whole is .*, not an object"):
        read(json.dumps(data))


def test_a_huge_wrong_value_is_told_in_one_short_line():
    with pytest.raises(vd.InputError) as error:
        read(GOOD | {"size": [list(range(1000))] * 1000, "parts": []})
    assert len(str(error.value)) < 200


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "name"]), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(sorted(GOOD)), VALUES)
def test_whatever_a_field_holds_it_is_read_or_refused(name, value):
    try:
        found = read(GOOD | {name: value})
    except vd.InputError:
        return
    assert isinstance(found, Record)
