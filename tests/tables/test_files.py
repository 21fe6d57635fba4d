"""Tables on disk: what is read is what was written, in parts or at once."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitdecomp import OutputError, SpecError
from vitdecomp.tables import files
from vitdecomp.tables.columns import lists

READ = {".parquet": pd.read_parquet, ".arrow": pd.read_feather, ".feather": pd.read_feather, ".csv": pd.read_csv}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), min_size=1, max_size=6)


def table(rows):
    return pa.table(
        {"id": pa.array([text for text, _ in rows], pa.string()), "x": pa.array([x for _, x in rows], pa.float64())}
    )


@pytest.mark.parametrize("suffix", [*files.FORMATS])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.lists(st.tuples(TEXT, st.integers(-9, 9)), max_size=3), min_size=1, max_size=3))
def test_what_is_read_is_what_was_written(tmp_path, suffix, parts):
    path = tmp_path / f"t{suffix}"
    rows = [row for part in parts for row in part]
    assert files.write_tables(path, map(table, parts)) == len(rows)
    plain = {"keep_default_na": False, "dtype": {"id": str}} if suffix == ".csv" else {}
    read = READ[suffix](path, **plain)
    assert [*zip(read["id"].astype(str), read["x"], strict=True)] == [(text, float(x)) for text, x in rows]


def test_small_parts_become_few_groups_and_large_ones_are_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "GROUP", 8 * 100)
    asked, seen = [], []

    def parts():
        for i in range(50):
            asked.append(i)
            yield pa.table({"x": pa.array(range(10 * i, 10 * i + 10), pa.int64())})
            seen.append(i)

    files.write_tables(tmp_path / "t.parquet", parts())
    read = pq.ParquetFile(tmp_path / "t.parquet")
    assert read.num_row_groups == 5
    assert read.read()["x"].to_pylist() == [*range(500)]
    assert asked == seen


def test_polars_reads_vectors(tmp_path):
    numbers = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    for suffix, read in ((".parquet", pl.read_parquet), (".arrow", pl.read_ipc)):
        files.write_tables(tmp_path / f"t{suffix}", [pa.table({"v": lists(numbers)})])
        assert read(tmp_path / f"t{suffix}")["v"].to_numpy().tolist() == numbers.tolist()


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path):
    vectors = pa.table({"v": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0]), 2)})
    with pytest.raises(SpecError, match=r"cannot hold vectors \(v\): give \.parquet, \.arrow, \.feather or \.npz"):
        files.write_tables(tmp_path / "t.csv", [vectors])
    with pytest.raises(SpecError, match=r"cannot tell the format of .*t\.xlsx by its suffix: give \.parquet"):
        files.write_tables(tmp_path / "t.xlsx", [vectors])
    with pytest.raises(OutputError, match="there is no directory"):
        files.write_tables(tmp_path / "none" / "t.csv", [vectors])

    def broken():
        yield pa.table({"x": [1.0]})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_tables(tmp_path / "t.parquet", broken())
    assert not [*tmp_path.iterdir()]
