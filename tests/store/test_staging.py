"""What several processes write at once becomes the store that one of them would have written."""

from pathlib import Path

import lance
import pytest
import torch
from forks import Fork, source
from made_up import SIZE, begin, chunk, end, metadata, staging_of, values, work

import vitdecomp as vd
from vitdecomp.store.encoding import PRECISIONS
from vitdecomp.store.lance import Table
from vitdecomp.store.schema import STAGING
from vitdecomp.store.staging import Staging
from vitdecomp.store.store import Store
from vitdecomp.store.writer import StoreWriter

N = 60
STARTS = range(0, N, SIZE)


def once(place, precision="float16", starts=STARTS):
    writer = StoreWriter(str(place))
    for start in starts:
        writer.write(metadata(precision), chunk(range(start, start + SIZE)))
    writer.finish()
    return Store(place)


def assert_same(found, expected, precision="float16"):
    """The rows of one process, in its order, within the promise; what fits from the first is equal bit for bit."""
    n = len(expected)
    assert found.ids == expected.ids
    assert found.fingerprint() == expected.fingerprint()
    assert torch.equal(found.embedding(), expected.embedding())
    assert torch.equal(found.error(), expected.error())
    truth, promise = values(range(n)), PRECISIONS[precision].promise
    for store in (found, expected):
        away = (store.take(range(n)).values - truth).norm(dim=2)
        assert bool((away <= (promise + 3e-7) * truth.norm(dim=2)).all())
        assert bool((store.loss() <= promise).all())
    for component in expected.components:
        one, other = (store.basis(component) for store in (found, expected))
        assert (one is None and other is None) or torch.equal(one, other)
    assert not Path(found.uri, STAGING).exists()


@pytest.mark.parametrize("precision", ["float16", "float32"])
@pytest.mark.parametrize("seed", range(3))
def test_chunks_in_any_order_by_any_process_make_the_same_store(tmp_path, seed, precision):
    begin(tmp_path / "s", precision)
    starts = list(STARTS[1:])
    starts = [starts[i] for i in torch.randperm(len(starts), generator=torch.Generator().manual_seed(seed))]
    for number, share in enumerate((starts[:4], starts[4:5], starts[5:])):
        work(tmp_path / "s", share, precision, number)
    raw = [part for part in staging_of(tmp_path / "s").missing(set()) if part.fragment is None]
    assert len(raw) >= 6  # the encodings of the first chunk do not fit all later ones
    with pytest.raises(vd.InputError, match="not finished"):
        Store(tmp_path / "s")
    assert_same(end(tmp_path / "s"), once(tmp_path / "once", precision), precision)


def test_what_fits_is_committed_as_it_was_written(tmp_path):
    """No file is written again, and the result is that of one process bit for bit."""
    starts = range(45, 60, 5)  # nothing new comes after the first three
    for name in ("s", "once"):
        writer = StoreWriter(str(tmp_path / name))
        for start in (0, 30, 40):
            writer.write(metadata(), chunk(range(start, start + SIZE)))
        assert not writer.settled
    staging_of(tmp_path / "s").start(3)
    for start in starts:
        writer.write(metadata(), chunk(range(start, start + SIZE)))
    writer.finish()
    work(tmp_path / "s", reversed(starts))
    written = {part.fragment for part in staging_of(tmp_path / "s").missing(set())}
    writer = StoreWriter(str(tmp_path / "s"))
    fits = None not in written
    Staging(str(tmp_path / "s"), writer.images).merge_into(writer)
    files = [file for f in lance.dataset(writer.images.uri).get_fragments() for file in f.metadata.files]
    assert fits
    assert sum(file.path in told for file in files for told in written) == len(starts)
    writer.finish()
    one, other = Store(tmp_path / "once"), Store(tmp_path / "s")
    assert one.ids == other.ids
    assert torch.equal(one.take(range(len(one))).values, other.take(range(len(other))).values)
    assert torch.equal(one.loss(), other.loss())


def test_what_was_written_twice_is_there_once(tmp_path):
    begin(tmp_path / "s")
    work(tmp_path / "s", STARTS[1:])
    work(tmp_path / "s", STARTS[3:6], number=2)
    assert_same(end(tmp_path / "s"), once(tmp_path / "once"))


@pytest.mark.parametrize("where", ["add_columns", "drop_columns", "commit", "drop"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_while_it_takes_over_it_does_it_again(tmp_path, monkeypatch, where, after):
    begin(tmp_path / "s")
    work(tmp_path / "s", STARTS[1:6])
    original = getattr(Table, where)

    def killed(self, *args):
        if after:
            original(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Table, where, killed)
        with pytest.raises(KeyboardInterrupt):
            end(tmp_path / "s")
    staging_of(tmp_path / "s").start(3)
    work(tmp_path / "s", STARTS[6:])
    assert_same(end(tmp_path / "s"), once(tmp_path / "once"))


RECORDS = """
import sys
from made_up import work
work(sys.argv[1], range(int(sys.argv[2]), int(sys.argv[3]), 5))
"""


def test_processes_record_at_once(tmp_path):
    begin(tmp_path / "s")
    bounds = [(5, 80), (80, 155)]
    both = [Fork(source, RECORDS, tmp_path / "s", a, b) for a, b in bounds]
    assert [process.wait(100) for process in both] == [0, 0]
    assert end(tmp_path / "s").ids == tuple(f"{row}.png" for row in range(155))
