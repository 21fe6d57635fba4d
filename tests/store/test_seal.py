"""A complete store says of every bit whether it is the one that was written, and stays readable while it grows."""

import random
import shutil
import time
from pathlib import Path

import pytest
import torch
from forks import Fork, source
from made_up import begin, chunk, end, flip, metadata, staging_of, work, write

import vitdecomp as vd
from vitdecomp.store.lance import Table
from vitdecomp.store.store import Store
from vitdecomp.store.writer import StoreWriter


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("stores") / "s"
    write(place, range(0, 60, 10))
    Store(place).add_vectors("made:clip", torch.randn(60, 5))
    return place


def read(place):
    """All that a store tells of images."""
    store, rows = Store(place), range(10, 30)
    found = store.take(rows)
    parts = [part for block in store.scan(store.components, 50) for part in block.parts]
    words = [store.metadata, store.ids, store.paths, store.labels, store.groups, store.fingerprint(), store.vectors_of]
    tensors = [found.values, found.error, found.loss, store.take([3, 1]).values, store.error(), store.loss()]
    tensors += [store.embedding(), store.vectors("made:clip")[0], *parts]
    tensors += [store.coefficients(component, rows) for component in store.components]
    return words, tensors


def same(one, other):
    return one[0] == other[0] and all(map(torch.equal, one[1], other[1]))


def files_of(place):
    return [path for path in sorted(place.rglob("*")) if path.is_file() and path.stat().st_size]


def refusal(place, expected):
    """What a reader is told; nothing, if all is as it was."""
    try:
        found = read(place)
    except vd.InputError as error:
        return str(error)
    assert same(found, expected)
    return None


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_is_told_or_changes_nothing(whole, tmp_path, seed):
    place, rng = shutil.copytree(whole, tmp_path / "s"), random.Random(seed)  # noqa: S311
    expected, told = read(place), []
    for path in files_of(place):
        for _ in range(4 if path.suffix == ".lance" else 2):
            where = rng.randrange(path.stat().st_size), rng.randrange(8)
            flip(path, *where)
            error = refusal(place, expected)
            if error is not None:
                told.append(path.parent.name)
                assert str(place) in error
                assert "vitdecomp extract" in error
            if path.parent.name == "data":
                assert error is not None
                assert path.name in error
            flip(path, *where)
    assert told.count("data") == 12
    assert "_versions" in told
    assert same(read(place), expected)


def test_without_checksums_damage_is_not_told(whole, tmp_path):
    """What the checksums are for: the same bit gives other values."""
    import lance

    place = shutil.copytree(whole, tmp_path / "s")
    expected = read(place)
    lance.dataset(f"{place}/images.lance").delete_config_keys(["seal", "checksums"])
    assert same(read(place), expected)
    data = max((place / "images.lance" / "data").iterdir(), key=lambda path: path.stat().st_size)
    flip(data, data.stat().st_size // 2, 4)
    assert not same(read(place), expected)


def test_a_moved_folder_is_part_of_the_seal(whole, tmp_path):
    place = shutil.copytree(whole, tmp_path / "s")
    StoreWriter(str(place)).moved("/photos", "/pictures")
    assert Store(place).paths[0] == Path("/pictures/0.png")
    images = Table(f"{place}/images.lance")
    images.open()
    images.set(roots='{"/photos": "/others"}')
    with pytest.raises(vd.DamageError, match=r"images\.lance: it is damaged"):
        Store(place)


def test_damage_is_not_carried_on(whole, tmp_path):
    """Neither when rows are added, for which small files are merged, nor when vectors are."""
    place = shutil.copytree(whole, tmp_path / "s")
    opened = Store(place)
    for path in (place / "images.lance" / "data").iterdir():
        flip(path, path.stat().st_size // 3)
    with pytest.raises(vd.VitdecompError, match="its checksum differs"):
        write(place, [60])
    with pytest.raises(vd.DamageError, match="its checksum differs"):
        opened.take(range(3))


@pytest.mark.parametrize("where", ["append", "add_columns", "drop_columns", "compact", "tag", "untag", "set", "clean"])
@pytest.mark.parametrize("after", [False, True])
def test_an_append_that_is_killed_leaves_the_version_before(whole, tmp_path, monkeypatch, where, after):
    place = shutil.copytree(whole, tmp_path / "s")
    expected, original = read(place), getattr(Table, where)

    def killed(self, *args, **options):
        if after:
            original(self, *args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Table, where, killed)
        with pytest.raises(KeyboardInterrupt):
            write(place, [60, 70, 80])
    done = where in ("untag", "clean")  # the new version was complete before
    assert Store(place).unfinished == (
        not done and (where, after) not in {("tag", False), ("tag", True), ("set", False)}
    )
    assert done or same(read(place), expected)
    assert Store(place).check()[1] == 0
    write(place, range(len(StoreWriter(str(place))), 90, 10))
    once = tmp_path / "once"
    write(once, range(0, 90, 10))
    one, other = Store(place), Store(once)
    assert not one.unfinished
    assert one.fingerprint() == other.fingerprint()
    assert torch.equal(one.take(range(90)).values, other.take(range(90)).values)
    assert one.check() == (2, 0)
    assert not list((place / "images.lance" / "_refs" / "tags").glob("*"))


def test_readers_have_the_version_before_while_rows_are_added(tmp_path, monkeypatch):
    monkeypatch.setattr("vitdecomp.store.writer.TIDY", 2)
    place = tmp_path / "s"
    write(place, [0, 10])
    expected, before = Store(place).take(range(20)).values, Store(place)
    writer = StoreWriter(str(place))
    for start in range(20, 80, 10):
        writer.write(metadata(), chunk(range(start, start + 10)))
        store = Store(place)
        assert store.unfinished
        assert len(store) == 20
        assert torch.equal(store.take(range(20)).values, expected)
        assert torch.equal(before.coefficients(before.components[2], range(9)), store.take(range(9)).values[:, 2])
    writer.finish()
    assert len(Store(place)) == 80
    assert not Store(place).unfinished
    with pytest.raises(vd.InputError, match="written to meanwhile, open it again"):
        before.coefficients(before.components[0], range(9))


def test_readers_have_the_version_before_while_several_processes_add_rows(tmp_path):
    begin(tmp_path / "s")
    with pytest.raises(vd.InputError, match="is not finished: run the same command again"):
        Store(tmp_path / "s")  # there was none before
    end(tmp_path / "s")
    expected = Store(tmp_path / "s").take(range(5)).values
    StoreWriter(str(tmp_path / "s")).write(metadata(), chunk(range(5, 10)))
    staging_of(tmp_path / "s").start(3)
    work(tmp_path / "s", range(10, 60, 5))
    assert torch.equal(Store(tmp_path / "s").take(range(5)).values, expected)
    assert len(end(tmp_path / "s")) == 60
    assert Store(tmp_path / "s").check()[1] == 0


def test_vectors_are_not_added_to_what_has_other_rows(whole, tmp_path):
    place = shutil.copytree(whole, tmp_path / "s")
    write(place, [60], finish=False)
    store = Store(place)
    assert (len(store), store.unfinished) == (60, True)
    with pytest.raises(vd.OutputError, match="was changed meanwhile"):
        store.add_vectors("made:clip", torch.randn(60, 3))
    StoreWriter(str(place)).finish()
    store = Store(place)
    store.add_vectors("made:clip", vectors := torch.randn(70, 3))
    assert torch.equal(store.vectors("made:clip")[0], vectors)
    assert torch.equal(Store(place).vectors("made:clip")[0], vectors)
    assert Store(place).check()[1] == 0


KILLED = """
import sys
from made_up import go_on
go_on(sys.argv[1], 2000)
"""


def test_a_process_that_is_killed_while_it_appends(whole, tmp_path):
    place = shutil.copytree(whole, tmp_path / "s")
    expected, limit = read(place), time.monotonic() + 100
    process = Fork(source, KILLED, place)
    try:
        while not Store(place).unfinished:
            assert process.poll() is None
            assert time.monotonic() < limit
        for _ in range(5):
            assert same(read(place), expected)  # while rows are being added
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    store = Store(place)
    assert (len(store), store.unfinished) == (60, True)
    assert same(read(place), expected)
    assert store.check()[1] == 0
