"""Projections are the same whether contributions are written out or directions are pulled back."""

import pytest
import torch
from made_up import write
from vitdecomp_alignment import LinearAlign

import vitdecomp as vd
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.aligner import Aligner
from vitdecomp.sources.projected import Projected

N = 60


class Curved(Aligner):
    """An aligner that is not linear: it has no maps to pull directions back by."""

    def fit(self, source, target):
        return self

    def transform(self, c):
        return vd.Contributions(c.values.tanh(), c.components, c.error)


@pytest.fixture(scope="module", params=["float16", "float64"])
def store(request, tmp_path_factory):
    place = tmp_path_factory.mktemp("projected") / "s.lance"
    write(place, range(0, N, 10), precision=request.param)
    return vd.Store(place)


def aligned(store):
    c = store.take(range(N))
    target = c.values.sum(1)[:, :9] + torch.arange(9.0)
    return Aligned(store, LinearAlign(bias=True).fit(c, target))


def projected(source, directions, size=7):
    found = list(Projected(source, directions, size).scan())
    assert [row for rows, _ in found for row in rows] == list(range(len(source)))
    return torch.cat([x for _, x in found])


@pytest.mark.parametrize("kind", ["store", "aligned", "curved", "memory"])
def test_projections_are_those_of_the_contributions(store, kind, monkeypatch):
    source = {
        "store": store,
        "aligned": aligned(store),
        "curved": Aligned(store, Curved()),
        "memory": store.take(range(N)),
    }[kind]
    whole = source.take(range(N)).values.double()
    directions = torch.randn(4, source.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    if kind in ("store", "aligned"):  # nothing is written out
        monkeypatch.setattr(vd.Store, "take", lambda *_: pytest.fail("written out"))
    found = projected(source, directions)
    assert found.shape == (N, len(source.components), 4)
    assert torch.allclose(found, whole @ directions.T, atol=1e-5 * float(whole.abs().max()))
    assert not torch.allclose(found, whole @ directions.flip(0).T, atol=1e-2)


def test_a_constant_of_the_maps_is_projected_too(store):
    source = aligned(store)
    assert len(source.components) == len(store.components) + 1
    added = projected(source, torch.eye(9, dtype=torch.float64))[:, -1]
    assert torch.equal(added, source.first.values[0, -1].double().expand(N, 9))
    assert float(added.norm()) > 0
