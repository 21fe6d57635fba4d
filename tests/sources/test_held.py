"""Images that are held in memory are those of the source."""

import pytest
import torch
from made_up import write
from vitdecomp_alignment import LinearAlign

import vitdecomp as vd
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.held import Held
from vitdecomp.sources.source import Scanned

RUNS = (range(3, 9), range(20, 21), range(40, 50))
ROWS = [row for run in RUNS for row in run]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("held") / "s.lance"
    write(place, range(0, 60, 10))
    return vd.Store(place)


@pytest.fixture(params=["store", "memory"])
def source(request, store):
    return store if request.param == "store" else store.take(range(60))


def test_images_are_those_of_the_runs(source):
    told = []
    some = Held.of(source, RUNS, lambda done, n: told.append((done, n)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(some, Scanned)
    assert len(some) == len(ROWS)
    assert torch.allclose(some.take([9, 0, 4]).values, source.take([ROWS[9], ROWS[0], ROWS[4]]).values, atol=1e-6)
    assert some.fingerprint() != Held.of(source, RUNS[:2]).fingerprint() != source.fingerprint()


def test_coefficients_and_scans_are_those_of_the_runs(source):
    some = Held.of(source, RUNS)
    for component in source.components:
        wanted = torch.cat([source.coefficients(component, run) for run in RUNS])
        assert torch.equal(some.coefficients(component, range(len(some))), wanted)
    blocks = list(some.scan(source.components[:2], 5, range(2, 14)))
    assert [block.rows for block in blocks] == [range(2, 7), range(7, 12), range(12, 14)]
    found = torch.cat([block.parts[1] for block in blocks])
    assert torch.equal(found, some.coefficients(source.components[1], range(2, 14)))


def test_the_mean_is_that_of_the_mapped_contributions(store):
    c = store.take(range(60))
    aligner = LinearAlign(bias=True).fit(c, c.values.sum(1)[:, :9] + torch.arange(9.0))
    some = Held.of(store, RUNS)
    found = Aligned(some.mean(), aligner).take([0]).values[0]
    wanted = Aligned(store, aligner).take(ROWS).values.double().mean(0)
    assert torch.allclose(found.double(), wanted, atol=1e-5 * float(wanted.abs().max()))
    assert len(some.mean()) == 1
