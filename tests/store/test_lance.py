"""What Lance says is one line of ours."""

from pathlib import Path

import pyarrow as pa
import pytest

import vitdecomp as vd
from vitdecomp.store.lance import Table, local_path, reading, writing


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("a/b.lance", Path("a/b.lance")),
        ("file:///a/b", Path("/a/b")),
        ("file-object-store:///a/b", Path("/a/b")),
        ("s3://bucket/b", None),
        ("memory://b", None),
    ],
)
def test_a_uri_is_a_path_or_elsewhere(uri, path):
    assert local_path(uri) == path


def test_a_table_that_is_not_there_is_not_open(tmp_path):
    table = Table(str(tmp_path / "none.lance"))
    assert not table.open()
    assert len(table) == 0
    assert not Table("memory://nowhere/none.lance").open()


def test_rows_are_appended_and_columns_added(tmp_path):
    table = Table(str(tmp_path / "t.lance"))
    table.replace(pa.table({"a": [1, 2]}))
    table.append(pa.table({"a": [3]}))
    schema = pa.schema([pa.field("b", pa.int64(), metadata={"of": "a"})])
    doubled = (
        pa.RecordBatch.from_arrays([pa.array([2 * x.as_py() for x in batch["a"]])], schema=schema)
        for batch in table.batches(["a"], 2)
    )
    table.add_columns(schema, doubled)
    assert table.rows(["b"], range(1, 3))["b"].to_pylist() == [4, 6]
    assert table.rows(["a"], [2, 0, 2])["a"].to_pylist() == [3, 1, 3]
    assert table.schema.field("b").metadata == {b"of": b"a"}
    table.set(word="x")
    table.tidy(alone=True)
    again = Table(str(tmp_path / "t.lance"))
    assert again.open()
    assert again.config["word"] == "x"
    assert again.rows(["a", "b"]).to_pydict() == {"a": [1, 2, 3], "b": [2, 4, 6]}
    assert again.damage() is None


@pytest.mark.parametrize(("context", "kind"), [(reading, vd.InputError), (writing, vd.OutputError)])
def test_errors_and_panics_are_one_line_and_interruptions_stay(context, kind):
    class PanicException(BaseException):
        pass

    for error in (OSError("LanceError(IO): bad\nthing, /home/x/y.rs:3:4"), PanicException("bad thing")):
        with pytest.raises(kind, match=r"^cannot (read|write) there: .*bad thing$"), context("there"):
            raise error
    with pytest.raises(KeyboardInterrupt), context("there"):
        raise KeyboardInterrupt
    with pytest.raises(vd.SpecError, match="ours"), context("there"):
        raise vd.SpecError("ours")
