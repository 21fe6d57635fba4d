"""A reader checks the columns and files that it reads, once, and no more."""

import numpy as np
import pyarrow as pa
import pytest
from made_up import flip

import vitdecomp as vd
from vitdecomp.store import data_files
from vitdecomp.store.block_checksums import BLOCK, Blocks
from vitdecomp.store.data_files import DataFiles
from vitdecomp.store.lance import Table
from vitdecomp.tables.columns import lists

WIDTH, ROWS = 512, 2048  # 4 MiB a column
NAMES = ("a", "b", "c")


@pytest.fixture
def written(tmp_path):
    """Two files of three columns, larger than what is checked whole, with their checksums."""
    table = Table(str(tmp_path / "t.lance"))
    rng = np.random.default_rng(0)
    for write in (table.replace, table.append):
        write(pa.table({name: lists(rng.standard_normal((ROWS, WIDTH)).astype(np.float32)) for name in NAMES}))
    checksums = table.files.checksums({})
    assert len(checksums) == 2
    return opened(table, checksums), checksums


def opened(table, checksums):
    fresh = Table(table.uri)
    assert fresh.open()
    fresh.expect(checksums)
    return fresh


def places(table):
    """Where each column stands in the first file, and where all else begins."""
    from lance.file import LanceFileReader

    path = f"{table.uri}/data/{next(iter(table.files.checksums({})))}"
    told = LanceFileReader(path).metadata()
    pages = {name: told.columns[i].pages[0].buffers[-1] for i, name in enumerate(NAMES)}
    return path, {name: page.position + page.size // 2 for name, page in pages.items()}, told.num_data_bytes


@pytest.mark.parametrize("column", NAMES)
def test_damage_is_seen_by_who_reads_the_column(written, column, tmp_path):
    table, checksums = written
    path, where, _ = places(table)
    flip(tmp_path / path, where[column])
    for name in NAMES:
        fresh = opened(table, checksums)
        assert len(fresh.rows([name], range(ROWS, 2 * ROWS))) == ROWS  # the other file
        if name != column:
            assert len(fresh.rows([name], range(3))) == 3
            continue
        for rows in (range(1), [ROWS + 1, ROWS - 1], None):
            with pytest.raises(vd.DamageError, match=r"cannot read .*data/.*its checksum differs.*vitdecomp extract"):
                fresh.rows([name], rows)
        with pytest.raises(vd.DamageError, match="its checksum differs"):
            list(fresh.batches([name]))
        with pytest.raises(vd.DamageError, match="its checksum differs"):
            fresh.check()


def test_damage_of_the_list_of_columns_is_seen_by_all(written, tmp_path):
    table, checksums = written
    path, _, end = places(table)
    for place in (end + 1, (tmp_path / path).stat().st_size - 9):
        flip(tmp_path / path, place)
        for name in NAMES:
            fresh = opened(table, checksums)
            with pytest.raises(vd.InputError, match=r"t\.lance"):
                fresh.rows([name], range(1))
        flip(tmp_path / path, place)
    table.check()


def test_a_column_is_read_once_for_its_checksum(written, monkeypatch):
    table, _ = written
    read, original = [], Blocks.differ
    monkeypatch.setattr(
        Blocks, "differ", lambda self, path, *ranges: read.append(path) or original(self, path, *ranges)
    )
    for _ in range(3):
        table.rows(["a"], range(5))
        table.rows(["a"], [1, 2])
    assert len(read) == 2  # the end of the file, and the column
    assert len(read) * BLOCK < 4 * len(NAMES) * BLOCK


def test_files_elsewhere_are_fetched(written, tmp_path, monkeypatch):
    table, checksums = written
    path, where, _ = places(table)
    files = DataFiles(table._data, f"file://{table.uri}", None, {p: Blocks(t) for p, t in checksums.items()})
    monkeypatch.setattr(data_files, "local_path", lambda uri: None)
    files.check(["a"])
    assert files.checksums({}) == checksums
    flip(tmp_path / path, where["b"])
    files = DataFiles(table._data, f"file://{table.uri}", None, {p: Blocks(t) for p, t in checksums.items()})
    with pytest.raises(vd.DamageError, match=r"file://.*its checksum differs"):
        files.check(["a"])  # whole files are fetched, and so they are checked whole


def test_without_checksums_nothing_is_compared(written, tmp_path):
    table, _ = written
    path, where, _ = places(table)
    flip(tmp_path / path, where["a"])
    fresh = Table(table.uri)
    fresh.open()
    assert len(fresh.rows(["a"], range(1))) == 1
    assert fresh.files.unknown == 2
    assert table.files.unknown == 0
