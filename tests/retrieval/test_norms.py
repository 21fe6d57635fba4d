"""Norms of features are computed once for a store, and found again by whoever searches it next."""

import json
import shutil

import pytest
import torch
from forks import Fork, source
from vitdecomp_alignment import ClosedForm

import vitdecomp as vd
from vitdecomp.datasets import Picture
from vitdecomp.retrieval import Query, Scope, norms
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


@pytest.mark.parametrize(("written", "most", "least"), [(norms.WRITTEN, 1, 0), (0, 3, 1)], ids=["written", "not"])
def test_a_store_is_read_once_for_norms_and_never_again(place, cache, monkeypatch, written, most, least):
    monkeypatch.setattr(norms, "WRITTEN", written)
    first, reads = searched(place)
    assert reads == most  # for the features, or for the means, for the norms, and for the scores
    assert len(files(cache)) == 1
    again, reads = searched(place)
    assert (again, reads) == (first, least)
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
    assert searched(place.with_name("copy.lance"))[1] == 0  # the same images and contributions, wherever they are
    write(place, first=N, n=20, seed=1)
    assert searched(place)[1] == 1
    shutil.rmtree(place)
    write(place, seed=2)
    assert searched(place)[1] == 1
    assert len(files(cache)) == 3


def test_other_maps_are_not_taken_for_the_old_ones(place, cache):
    source = torch.Generator().manual_seed(0)
    for _ in range(2):
        aligner = ClosedForm().fit(vd.Store(place), torch.randn(N, 8, generator=source))
        searched(place, aligner=aligner)
        assert searched(place, aligner=aligner)[1] == 0
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
    assert searched(place) == (first, 1)
    assert path.read_bytes() == whole
    assert searched(place) == (first, 0)


def test_where_nothing_can_be_kept_a_search_works_all_the_same(place, cache, monkeypatch):
    expected, _ = searched(place)
    place.with_name("file").write_text("")
    monkeypatch.setenv("VITDECOMP_CACHE", str(place.with_name("file")))
    assert searched(place) == (expected, 1)
    monkeypatch.delenv("VITDECOMP_CACHE")
    with pytest.raises(vd.OutputError, match="cannot"):
        searched(place, cache=place.with_name("file") / "lengths")


def test_contributions_in_memory_leave_nothing_behind(cache):
    vd.Retriever(AlignerContract().contributions(N)).search(image=3)
    assert not cache.exists()


ASKED = [Query(image=3), Query(vector=torch.arange(8.0) - 2), Query(image=(5, 70), negative=Query(image=9))]


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scope", [Scope(), Scope(components=("*.head.*",)), Scope(components=("b.mlp", "*.head.1"))])
def test_features_that_are_written_out_give_what_coefficients_give(place, monkeypatch, center, scope):
    aligner = ClosedForm().fit(vd.Store(place), torch.randn(N, 8, generator=torch.Generator().manual_seed(3)))
    found = []
    for written in (norms.WRITTEN, 0):
        monkeypatch.setattr(norms, "WRITTEN", written)
        retriever = vd.Retriever(vd.Store(place), aligner=aligner, center=center, block=16)
        retriever._norms.folder = None
        found.append(retriever.nearest(ASKED, scope, k=N))
        view = retriever.view(scope)
        assert (view.norms.features is None) == (written == 0 or view.width > sum(map(len, view.maps)))
    (scores, rows), (expected, places) = found
    assert torch.allclose(scores, expected, atol=2e-6)
    assert torch.allclose(scores.gather(1, rows.argsort(1)), expected.gather(1, places.argsort(1)), atol=2e-6)


def test_what_was_asked_for_longest_ago_is_let_go(place, monkeypatch):
    retriever = vd.Retriever(vd.Store(place))
    scopes = [Scope(), Scope(components=("*.head.*", "b.mlp"))]
    first, _ = (retriever.nearest(ASKED[:1], scope) for scope in scopes)
    assert all(retriever.view(scope).norms.features is not None for scope in scopes)
    monkeypatch.setattr(norms, "HELD", N * D * 4)
    assert retriever.view(scopes[1]).norms.features is not None
    assert retriever.view(scopes[0]).norms.features is None
    again = retriever.nearest(ASKED[:1])
    assert torch.equal(again[1], first[1])
    assert torch.allclose(again[0], first[0], atol=2e-6)
