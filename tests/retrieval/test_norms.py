"""Norms of features are computed once for a store, and found again by whoever searches it next."""

import json
import shutil

import pytest
import torch
from forks import Fork, source
from vitdecomp_alignment import ClosedForm

import vitdecomp as vd
from vitdecomp.datasets import Picture
from vitdecomp.retrieval.norms import SUFFIX
from vitdecomp.store.lock import locked
from vitdecomp.store.metadata import Metadata
from vitdecomp.store.rows import Chunk
from vitdecomp.store.writer import StoreWriter
from vitdecomp.testing import AlignerContract

N, D = 90, 12
ANOTHER_PROCESS = """
import json, sys
from vitdecomp import Retriever, Store

told = []
hits = Retriever(Store(sys.argv[1])).search(image=3, progress=lambda done, n: told.append(done))
print(json.dumps([[[hit.row, hit.score] for hit in hits], told]))
"""


class Watched(vd.Store):
    """A store that counts the coefficients that are read."""

    read = 0

    def coefficients(self, component, rows):
        self.read += len(rows)
        return super().coefficients(component, rows)

    def scan(self, components, size, rows=None):
        for images in super().scan(components, size, rows):
            self.read += len(images.rows) * len(components)
            yield images


def write(place, first=0, n=N, seed=0):
    c = AlignerContract().contributions(n, seed)
    names = [f"{row}.png" for row in range(first, first + n)]
    metadata = Metadata("random:kept", "0", "none", "embedding", "head", None, "float32", "float16", D, c.components)
    with locked(str(place)):
        writer = StoreWriter(str(place))
        writer.write(metadata, Chunk([Picture(name) for name in names], names, names, c.values.float() + 2.0, c.error))
        writer.finish()
    return place


def searched(place, **settings):
    """Hits, and how often each coefficient was read."""
    store = Watched(place)
    asked = {name: settings.pop(name) for name in ("components", "feature") if name in settings}
    hits = vd.Retriever(store, **settings).search(image=3, **asked)
    return hits, store.read // (len(store) * len(store.components))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VITDECOMP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lengths"


@pytest.fixture
def place(tmp_path, cache):
    return write(tmp_path / "store.lance")


def files(cache):
    return sorted(cache.glob(f"*{SUFFIX}"))


def test_a_store_is_read_once_for_norms_and_never_again(place, cache):
    first, reads = searched(place)
    assert reads == 3  # for the means, for the norms, and for the scores
    assert len(files(cache)) == 1
    again, reads = searched(place)
    assert (again, reads) == (first, 1)
    expected = vd.Retriever(vd.Store(place).take(range(N))).search(image=3)
    assert [hit.row for hit in first] == [hit.row for hit in expected]
    assert [hit.score for hit in first] == pytest.approx([hit.score for hit in expected], abs=1e-5)


def test_another_process_finds_them(place, cache):
    first, _ = searched(place)
    hits, told = json.loads(Fork(source, ANOTHER_PROCESS, place).communicate()[0])
    assert told == []
    assert hits == [[hit.row, pytest.approx(hit.score, abs=1e-6)] for hit in first]


def test_other_components_and_other_settings_have_norms_of_their_own(place, cache):
    settings = [{}, {"components": "b.mlp"}, {"center": False}]
    found = [searched(place, **some)[0] for some in settings]
    assert len(files(cache)) == 3
    assert [searched(place, **some)[0] for some in settings] == found
    assert len(files(cache)) == 3


def test_a_changed_store_is_not_taken_for_the_old_one(place, cache):
    searched(place)
    shutil.copytree(place, place.with_name("copy.lance"))
    assert searched(place.with_name("copy.lance"))[1] == 1  # the same images and contributions, wherever they are
    write(place, first=N, n=20, seed=1)
    assert searched(place)[1] == 3
    shutil.rmtree(place)
    write(place, seed=2)
    assert searched(place)[1] == 3
    assert len(files(cache)) == 3


def test_other_maps_are_not_taken_for_the_old_ones(place, cache):
    source = torch.Generator().manual_seed(0)
    for _ in range(2):
        aligner = ClosedForm().fit(vd.Store(place), torch.randn(N, 8, generator=source))
        searched(place, aligner=aligner)
        assert searched(place, aligner=aligner)[1] == 1
    assert len(files(cache)) == 2


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda content: b""], ids=["cut off", "a bit", "empty"])
def test_a_damaged_file_is_made_again(place, cache, damage):
    first, _ = searched(place)
    (path,) = files(cache)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert searched(place) == (first, 3)
    assert path.read_bytes() == whole
    assert searched(place) == (first, 1)


def test_where_nothing_can_be_kept_a_search_works_all_the_same(place, cache, monkeypatch):
    expected, _ = searched(place)
    place.with_name("file").write_text("")
    monkeypatch.setenv("VITDECOMP_CACHE", str(place.with_name("file")))
    assert searched(place) == (expected, 3)
    monkeypatch.delenv("VITDECOMP_CACHE")
    with pytest.raises(vd.OutputError, match="cannot"):
        searched(place, cache=place.with_name("file") / "lengths")


def test_contributions_in_memory_leave_nothing_behind(cache):
    vd.Retriever(AlignerContract().contributions(N)).search(image=3)
    assert not cache.exists()
