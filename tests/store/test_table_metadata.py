"""A store that somebody else wrote, or changed, is refused in one line that names the place, without a traceback."""

import json
import shutil

import lance
import numpy as np
import pyarrow as pa
import pytest
import torch
from made_up import write

import vitdecomp as vd
from vitdecomp.store.schema import METADATA
from vitdecomp.store.store import Store


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store as older versions wrote it, without checksums, so that what follows is reached."""
    place = tmp_path_factory.mktemp("stores") / "s"
    write(place, range(0, 20, 10))
    Store(place).add_vectors("made:clip", torch.randn(20, 4))
    images(place).delete_config_keys(["seal", "checksums"])
    return place


@pytest.fixture
def place(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "s")


def images(place):
    return lance.dataset(f"{place}/images.lance")


def set_metadata(place, text):
    images(place).update_schema_metadata({METADATA.decode(): text}, replace=True)


def read_all(place):
    """Everything that a store offers."""
    store = Store(place)
    everything = range(len(store))
    store.take(everything), store.take([1, 0]), list(store.scan(store.components, 7)), list(store.batches(9))
    _ = store.ids, store.paths, store.labels, store.groups, store.fingerprint(), store.bytes_per_image
    store.error(), store.loss(), store.losses(), store.embedding()
    for component in store.components:
        store.basis(component), store.coefficients(component, everything)
    return [store.vectors(name) for name in store.vectors_of]


def assert_refused(place, told):
    with pytest.raises(vd.InputError, match=told) as error:
        read_all(place)
    assert "\n" not in str(error.value)
    with pytest.raises(vd.VitdecompError):
        write(place, [20])


def test_the_store_that_is_changed_here_can_be_read(place):
    assert len(read_all(place)) == 1
    write(place, [20])
    assert Store(place).check() == (2, 0)  # its checksums are there from now on


COMPONENT = {"name": "x", "kind": "attn"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"dimension": None}, "dimension is null"),
        ({"dimension": -1}, "dimension is -1"),
        ({"dimension": 10**12}, "dimension is 1000000000000"),
        ({"dimension": 16.0}, "dimension is 16.0"),
        ({"dimension": "16"}, 'dimension is "16"'),
        ({"dimension": 17}, "column embedding has type"),
        ({"dtype": "nn"}, "dtype is not one of"),
        ({"precision": "int8"}, "precision is not one of"),
        ({"schema": None}, "schema is null"),
        ({"schema": 2}, "has schema 2"),
        ({"schema": 99}, "update vitdecomp"),
        ({"components": []}, "components are not distinct"),
        ({"components": None}, "components is null"),
        ({"components": [COMPONENT, COMPONENT]}, "components are not distinct"),
        ({"components": [{**COMPONENT, "head": "1"}]}, r"components\[0\].head"),
        ({"components": [COMPONENT]}, "encodings are of another model|column loss has type"),
        ({"model": 3}, "model is 3"),
        ({"through": [None]}, r"through\[0\] is null"),
        ({"by": "\x1b[31mred"}, "by is .* not a text without control characters"),
        ({"extra": 1}, "'extra' that is unknown"),
    ],
    ids=str,
)
def test_metadata_that_fits_no_store(place, change, told):
    plain = {**json.loads(images(place).schema.metadata[METADATA]), **change}
    set_metadata(place, json.dumps(plain))
    assert_refused(place, told)


@pytest.mark.parametrize("text", ["", "[]", "null", "7", "{", "[" * 100_000, "\u00e9"])
def test_metadata_that_is_none(place, text):
    set_metadata(place, text)
    assert_refused(place, "the metadata of .*images.lance")


@pytest.mark.parametrize(
    "column", ["id", "path", "label", "groups", "digest", "checksum", "error", "embedding", "loss", "component_2_0"]
)
def test_a_column_that_is_missing(place, column):
    images(place).drop_columns([column])
    assert_refused(place, f"column {column} is missing|no encoding of mlp")


@pytest.mark.parametrize(
    ("old", "new"),
    [("id", "1"), ("error", "'0'"), ("embedding", "1.0"), ("component_2_0", "id"), ("groups", "1"), ("loss", "error")],
)
def test_a_column_of_another_type(place, old, new):
    data = images(place)
    data.add_columns({"new": new})
    data.drop_columns([old])
    data.alter_columns({"path": "new", "name": old})
    assert_refused(place, f"column {old} has type")


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("embedding", None, "rows are incomplete"),
        ("loss", None, "rows are incomplete"),
        ("component_2_0", None, "rows are incomplete"),
        ("groups", "no JSON", "the groups of .*JSON"),
        ("groups", "[1]", "the groups of .*not an object"),
        ("groups", '{"a": 1}', "the groups of .*not a text"),
    ],
)
def test_rows_that_no_image_has(place, column, value, told):
    table = images(place).to_table()
    index = table.schema.get_field_index(column)
    values = [value, *table[column].to_pylist()[1:]]
    changed = table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
    config = images(place).config()
    lance.write_dataset(changed, f"{place}/images.lance", mode="overwrite").update_config(config)
    with pytest.raises(vd.InputError, match=told):
        read_all(place)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("component", -1),
        ("component", 99),
        ("component", None),
        ("generation", 7),
        ("generation", -1),
        ("format", "int8"),
        ("format", "float64"),
        ("format", None),
        ("scale", float("nan")),
        ("scale", 0.0),
        ("scale", None),
        ("fixed", None),
        ("fixed", True),
        ("rank", 17),
        ("rank", -2),
        ("rank", 3),
        ("rank", None),
        ("rank", 2**31 - 1),
        ("basis", None),
        ("basis", [1.0]),
    ],
    ids=str,
)
def test_an_encoding_that_is_none(place, column, value):
    table = lance.dataset(f"{place}/bases.lance").to_table()
    index = table.schema.get_field_index(column)
    values = [value, *table[column].to_pylist()[1:]]
    changed = table.set_column(index, column, pa.array(values, table.schema.field(column).type))
    lance.write_dataset(changed, f"{place}/bases.lance", mode="overwrite")
    with pytest.raises(vd.InputError, match=r"bases\.lance|images\.lance"):
        read_all(place)


def test_bases_without_a_column_or_of_other_types(place):
    table = lance.dataset(f"{place}/bases.lance").to_table()
    for changed in (table.drop_columns(["rank"]), table.drop_columns(["basis"]), pa.table({"a": [1]})):
        lance.write_dataset(changed, f"{place}/bases.lance", mode="overwrite")
        with pytest.raises(vd.InputError, match=r"bases\.lance"):
            read_all(place)
    names = pa.array(["x"] * len(table))
    changed = table.drop_columns(["basis"]).append_column("basis", names)
    lance.write_dataset(changed, f"{place}/bases.lance", mode="overwrite")
    with pytest.raises(vd.InputError, match=r"bases\.lance"):
        read_all(place)


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({}, "no field 'vectors'|is not JSON"),
        ({"vectors": "x"}, "is not JSON"),
        ({"vectors": "x", "origin": "1"}, "origin is 1"),
        ({"vectors": "x", "origin": '{"model": "m"}'}, "no field 'weights'"),
        ({"vectors": "x", "origin": "null", "more": "1"}, "is unknown"),
    ],
)
def test_vectors_of_nobody(place, metadata, told):
    data = images(place)
    field = pa.field("vectors_1_0", pa.list_(pa.float32(), 2), metadata=metadata)
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(40, np.float32)), 2)
    schema = pa.schema([field])
    data.add_columns(pa.RecordBatchReader.from_batches(schema, [pa.record_batch([column], schema=schema)]))
    with pytest.raises(vd.InputError, match=told):
        read_all(place)


@pytest.mark.parametrize(
    ("key", "value"),
    [("roots", "[1]"), ("roots", '{"a": 1}'), ("roots", "{"), ("checksums", "{}"), ("checksums", '{"images": 1}')],
)
def test_a_configuration_of_something_else(place, key, value):
    images(place).update_config({key: value, "seal": "x"})
    with pytest.raises(vd.InputError, match=r"images\.lance"):
        read_all(place)


@pytest.mark.parametrize("value", ["-1", "many", "1.5", "null", str(10**30)])
def test_a_number_of_something_else(place, value):
    images(place).update_config({"before": value, "parts": value, "complete": "false"})
    from vitdecomp.store.staging import Staging
    from vitdecomp.store.writer import StoreWriter

    writer = StoreWriter(str(place))
    with pytest.raises(vd.InputError, match="'before' in the configuration of"):
        _ = writer.before
    with pytest.raises(vd.InputError, match="'parts' in the configuration of"):
        _ = Staging(str(place), writer.images).tables


def test_what_is_no_store(tmp_path):
    lance.write_dataset(pa.table({"a": [1]}), f"{tmp_path}/images.lance")
    (tmp_path / "file").write_text("no store")
    (tmp_path / "empty" / "images.lance").mkdir(parents=True)
    (tmp_path / "broken" / "images.lance" / "_versions").mkdir(parents=True)
    (tmp_path / "broken" / "images.lance" / "_versions" / "1.manifest").write_bytes(b"LANC" * 9)
    for name, told in (
        ("", "is not a store of vitdecomp"),
        ("file", "is a file, not a store"),
        ("empty", "there are no contributions"),
        ("broken", "cannot read .*images.lance"),
        ("nothing", "there are no contributions"),
    ):
        with pytest.raises(vd.InputError, match=told):
            Store(tmp_path / name)


def test_bases_that_are_gone(place):
    shutil.rmtree(place / "bases.lance")
    assert_refused(place, r"bases\.lance is damaged: it is missing")
