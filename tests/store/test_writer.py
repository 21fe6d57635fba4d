"""Rows are written whole or not at all, encodings grow on the way, and nothing is lost or doubled."""

import time
from pathlib import Path

import lance
import pytest
import torch
from forks import Fork, source
from made_up import COMPONENTS, D, go_on, metadata, values, write

import vitdecomp as vd
from vitdecomp import VitdecompError
from vitdecomp.store.encoding import PRECISIONS
from vitdecomp.store.lock import LOCK, locked
from vitdecomp.store.metadata import Metadata
from vitdecomp.store.store import Store
from vitdecomp.store.writer import TIDY, StoreWriter


@pytest.mark.parametrize("precision", ["float16", "float32"])  # the contributions are those of a float32 model
def test_what_is_written_is_read_while_encodings_grow(tmp_path, precision):
    write(tmp_path / "s", range(0, 60, 10), precision=precision)
    store = Store(tmp_path / "s")
    found, expected = store.take(range(60)), values(range(60))
    length = expected.norm(dim=2)
    assert bool(((found.values - expected).norm(dim=2) <= (PRECISIONS[precision].promise + 3e-7) * length).all())
    assert bool((store.loss() <= PRECISIONS[precision].promise).all())
    assert {c.name: store.coefficients(c, range(60)).shape[1] for c in COMPONENTS} == {
        "head.0": 4,
        "head.1": 5,
        "mlp": D,
        "bias": 1,
        "const": 1,
        "zero": 0,
        "late": 1,
    }
    columns = [name for name in lance.dataset(f"{tmp_path}/s/images.lance").schema.names if "component" in name]
    assert len(columns) == 5  # what does not vary has none, and what was replaced is gone
    assert store.ids == tuple(f"{row}.png" for row in range(60))
    assert store.labels[:2] == (None, "cat")
    assert store.groups[0] == {"place": "water"}
    assert torch.allclose(store.embedding(), expected.sum(1), atol=1e-5)


@pytest.mark.parametrize("size", [7, 60, 1000])
def test_a_scan_reads_what_columns_hold(tmp_path, size):
    write(tmp_path / "s", range(0, 60, 10))
    store = Store(tmp_path / "s")
    for components in (store.components, store.components[4:]):  # the bias, and what has no column
        blocks = list(store.scan(components, size))
        assert [row for images in blocks for row in images.rows] == list(range(60))
        assert max(len(images.rows) for images in blocks) <= size
        for i, component in enumerate(components):
            found = torch.cat([images.parts[i].float() * images.scales[i] for images in blocks])
            assert torch.equal(found, store.coefficients(component, range(60)).float())
    assert [len(images.rows) for images in store.scan(store.components[5:6], 50)] == [50, 10]


@pytest.mark.parametrize("rows", [range(13, 47), range(59, 60), range(20, 20)])
def test_a_scan_of_some_images_reads_these_alone(tmp_path, rows):
    write(tmp_path / "s", range(0, 60, 10))
    store = Store(tmp_path / "s")
    for components in (store.components, store.components[5:6]):
        blocks = list(store.scan(components, 8, rows))
        assert [row for images in blocks for row in images.rows] == [*rows]
        for i, component in enumerate(components):
            for images in blocks:
                found = images.parts[i].float() * images.scales[i]
                assert torch.equal(found, store.coefficients(component, images.rows).float())
    with pytest.raises(VitdecompError, match="rows 59 to 60 asked for"):
        list(store.scan(store.components, 8, range(59, 61)))


def test_another_process_goes_on_as_the_same_one_would(tmp_path):
    write(tmp_path / "once", range(0, 60, 10))
    for start in range(0, 60, 10):
        write(tmp_path / "often", [start], finish=start == 50)
    one, other = Store(tmp_path / "once"), Store(tmp_path / "often")
    assert torch.equal(one.take(range(60)).values, other.take(range(60)).values)
    assert one.fingerprint() == other.fingerprint()


def test_rows_that_are_added_later_are_those_of_one_run_within_the_promise(tmp_path):
    write(tmp_path / "once", [0], size=60)
    write(tmp_path / "later", [0], size=7)
    fingerprint = Store(tmp_path / "later").fingerprint()
    write(tmp_path / "later", [7], size=53)
    one, other = Store(tmp_path / "once"), Store(tmp_path / "later")
    assert other.fingerprint() == one.fingerprint() != fingerprint
    expected = values(range(60))
    for store in (one, other):
        away = (store.take(range(60)).values - expected).norm(dim=2)
        assert bool((away <= (5e-4 + 3e-7) * expected.norm(dim=2)).all())


def test_many_small_commits_become_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr("vitdecomp.store.writer.TIDY", 4)
    write(tmp_path / "s", range(0, 60, 5), size=5)
    assert len(lance.dataset(f"{tmp_path}/s/images.lance").get_fragments()) == 1
    assert torch.equal(Store(tmp_path / "s").take([59, 3]).error, torch.full((2,), 1e-7, dtype=torch.float64))
    assert Store(tmp_path / "s").ids == tuple(f"{row}.png" for row in range(60))
    assert TIDY > 4


def test_a_store_is_complete_when_the_run_came_to_its_end(tmp_path):
    write(tmp_path / "s", [0, 10], finish=False)
    writer = StoreWriter(str(tmp_path / "s"))
    assert not writer.complete
    assert writer.before == 0
    with pytest.raises(vd.InputError, match="is not finished"):
        Store(tmp_path / "s")
    writer.finish()
    assert StoreWriter(str(tmp_path / "s")).complete
    write(tmp_path / "s", [20], finish=False)
    writer = StoreWriter(str(tmp_path / "s"))
    assert not writer.complete
    assert (writer.before, len(writer)) == (20, 30)


def test_a_process_that_was_killed_before_it_dropped_what_it_replaced(tmp_path, monkeypatch):
    write(tmp_path / "s", [0, 10], finish=False)

    def killed(self, names):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vitdecomp.store.lance.Table.drop_columns", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "s", [20, 30])
    write(tmp_path / "s", range(len(StoreWriter(str(tmp_path / "s"))), 60, 10))
    write(tmp_path / "once", range(0, 60, 10))
    one, other = Store(tmp_path / "once"), Store(tmp_path / "s")
    assert torch.equal(one.take(range(60)).values, other.take(range(60)).values)


def test_a_process_that_was_killed_before_its_first_row_leaves_nothing_that_counts(tmp_path, monkeypatch):
    from vitdecomp.store.lance import Table

    original = Table.replace

    def killed(self, table):
        if self.uri.endswith("images.lance"):
            raise KeyboardInterrupt
        original(self, table)

    with monkeypatch.context() as patch:
        patch.setattr(Table, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "s", [30])
    assert StoreWriter(str(tmp_path / "s")).metadata is None
    write(tmp_path / "s", [0])
    assert Store(tmp_path / "s").ids == tuple(f"{row}.png" for row in range(10))


KILLED = """
import sys
from made_up import go_on
go_on(sys.argv[1], 400)
"""


@pytest.mark.slow
def test_killed_at_any_instant_nothing_is_lost_or_doubled(tmp_path):
    place = str(tmp_path / "s")
    versions, seen = Path(place, "images.lance", "_versions"), 0
    for wait in (0.0, 0.013, 0.041, 0.002):
        process = Fork(source, KILLED, place)
        end = time.monotonic() + 240
        while len(list(versions.glob("*.manifest"))) < seen + 3 and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.001)
        time.sleep(wait)
        process.kill()
        process.wait()
        rows = StoreWriter(place)
        assert list(rows.known()) == [f"{row}.png" for row in range(len(rows))]
        assert len(rows) % 5 == 0
        assert len(rows) < 400
        seen = len(list(versions.glob("*.manifest")))
    go_on(place, 400)
    go_on(str(tmp_path / "once"), 400)
    one, other = Store(tmp_path / "once"), Store(place)
    assert other.ids == one.ids == tuple(f"{row}.png" for row in range(400))
    assert other.fingerprint() == one.fingerprint()
    assert torch.equal(one.take(range(400)).values, other.take(range(400)).values)
    assert torch.equal(one.loss(), other.loss())


def test_one_process_writes_at_a_time(tmp_path):
    with locked(str(tmp_path / "s")):
        assert (tmp_path / "s" / LOCK).is_file()
        with pytest.raises(vd.OutputError, match="another process writes to"), locked(str(tmp_path / "s")):
            pass
    assert not (tmp_path / "s").exists()
    with locked("s3://bucket/store.lance"):
        assert not Path("s3:").exists()


def test_another_extraction_is_refused():
    first = metadata()
    metadata().check(first, "there")
    for change in ({"weights": "x"}, {"precision": "float32"}, {"components": COMPONENTS[:2]}):
        with pytest.raises(vd.OutputError, match=f"there holds another extraction.*{next(iter(change))}"):
            metadata(**change).check(first, "there")
    assert Metadata.from_json(first.to_json()) == first
    for text, told in (("[]", r"\[\]"), ("{}", r"\{\}"), ("no", "Expecting"), ('{"schema": 99}', "schema 99")):
        with pytest.raises(ValueError, match=told):
            Metadata.from_json(text)


@pytest.mark.parametrize("content", ["manifest.json", "photo.png"])
def test_a_folder_with_something_else_is_refused(tmp_path, content):
    (tmp_path / content).write_text("mine")
    with pytest.raises(vd.OutputError, match="is not empty and not a store"):
        StoreWriter(str(tmp_path))


def test_a_foreign_table_is_refused(tmp_path):
    import pyarrow as pa

    lance.write_dataset(pa.table({"a": [1]}), f"{tmp_path}/images.lance")
    with pytest.raises(vd.OutputError, match="is not a store of vitdecomp"):
        StoreWriter(str(tmp_path))
    with pytest.raises(vd.InputError, match="is not a store of vitdecomp"):
        Store(tmp_path)


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch):
    write(tmp_path / "s", [0])
    before = Store(tmp_path / "s").take(range(10)).values

    def full(*args, **kwargs):
        raise OSError("LanceError(IO): Generic LocalFileSystem error: No space left on device (os error 28), /b.rs:1")

    with monkeypatch.context() as patch:
        patch.setattr(lance, "write_dataset", full)
        with pytest.raises(vd.OutputError, match=r"cannot write .*images\.lance: the disk is full$"):
            write(tmp_path / "s", [10])
    write(tmp_path / "s", [10])
    store = Store(tmp_path / "s")
    assert store.ids == tuple(f"{row}.png" for row in range(20))
    assert torch.equal(store.take(range(10)).values, before)
