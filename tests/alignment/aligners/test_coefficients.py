"""A store gives the same coordinates, sums and maps as the contributions in it, and is read once."""

from __future__ import annotations

import pytest
import torch
from made_up import write_made
from vitdecomp_alignment import ClosedForm, CompAlign, LinearAlign
from vitdecomp_alignment.aligners import coefficients as module
from vitdecomp_alignment.aligners.basis_change import BasisChanges
from vitdecomp_alignment.aligners.coefficients import Coefficients
from vitdecomp_alignment.aligners.examples import BatchOrder, Examples
from vitdecomp_alignment.aligners.maps import Span
from vitdecomp_alignment.aligners.spans import find_spans, whole_space

from vitdecomp import Contributions, Store
from vitdecomp._utils.progress import Clock
from vitdecomp.distributed.process_group import Ranks
from vitdecomp.testing import AlignerContract

N = 1300


class Counted(Store):
    """A store that counts how often every image is read."""

    read = 0

    def scan(self, components, size, rows=None):
        for block in super().scan(components, size, rows):
            self.read += len(block.rows)
            yield block


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Counted(write_made(tmp_path_factory.mktemp("coefficients") / "s", AlignerContract().contributions(N)))


@pytest.fixture
def c(store):
    return Contributions(store.take(range(N)).values, store.components, store.error(), origin=store.origin)


def test_a_store_is_kept_in_bases(store):
    kept = Coefficients(store)
    assert any(basis is not None for basis in kept.bases)
    assert kept.width < len(store.components) * store.dimension


@pytest.mark.parametrize("spans", [find_spans, whole_space, lambda kept: find_spans(kept, max_rank=2)])
def test_coordinates_and_sums_are_those_of_the_contributions(store, c, spans):
    kept = Coefficients(store)
    chosen = spans(kept)
    assert sorted(row for span in chosen for row in span.rows.tolist()) == list(range(len(c.components)))
    rows = [3, 1299, 77, 78, 600]
    a = kept.take(rows)
    assert torch.allclose(kept.total(a), c.total()[rows], atol=1e-4)
    for x, span in zip(BasisChanges(kept, chosen)(a), chosen, strict=True):
        wanted = Span(span.rows, None if span.basis is None else span.basis.float()).coordinates(c.values[rows])
        assert torch.allclose(x, wanted.flatten(1), atol=1e-4)
        if span.basis is not None:
            assert torch.allclose(span.basis.mT @ span.basis, torch.eye(span.basis.shape[2]).double(), atol=1e-5)


def test_spans_hold_all_there_is(store, c):
    for kept in (Coefficients(store), Coefficients(c)):
        for span in find_spans(kept):
            if span.basis is not None:
                values = c.values.double()
                again = torch.einsum("nkr,kdr->nkd", span.coordinates(values), span.basis)
                assert torch.allclose(again, values[:, span.rows], atol=1e-3)


@pytest.mark.parametrize(
    "aligner",
    [ClosedForm(), CompAlign(epochs=1), CompAlign(init="random", coordinates="full", epochs=1), LinearAlign(epochs=1)],
    ids=["closed", "trained", "full", "one"],
)
def test_maps_are_those_of_the_contributions(store, c, aligner):
    target = AlignerContract().target(c)
    from_store = aligner.fit(store, target).weights_
    from_memory = aligner.fit(c, target).weights_
    moved = torch.einsum("ncd,cdm->ncm", c.values, from_store - from_memory)
    assert float(moved.norm() / torch.einsum("ncd,cdm->ncm", c.values, from_memory).norm()) < 0.02


def test_the_closed_form_reads_every_image_once(store, c):
    store.read, clock = 0, Clock()
    ClosedForm().fit(store, AlignerContract().target(c), clock=clock)
    assert store.read == N + looked_at(store)
    assert list(clock.seconds) == ["spans", "reading", "sums", "solving", "checksum"]


def looked_at(store):
    """Images that are read to find what components span of which the store does not say it."""
    kept = Coefficients(store)
    store.read = 0
    find_spans(kept)
    found, store.read = store.read, 0
    return found


def test_training_reads_every_image_once_if_all_fit_in_memory(store, c):
    target, extra = AlignerContract().target(c), looked_at(store)
    store.read = 0
    CompAlign(epochs=3).fit(store, target)
    assert store.read in (N, N + extra)


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr(module, "HELD", 1000)
    monkeypatch.setattr("vitdecomp_alignment.aligners.examples.WINDOW", 32 * 300)
    monkeypatch.setattr("vitdecomp_alignment.aligners.examples.BLOCK", 64)


def test_what_does_not_fit_in_memory_comes_once_in_every_epoch_in_another_order(store, c, small_memory):
    kept, target = Coefficients(store), AlignerContract().target(c)
    assert not kept.fit_in_memory
    coordinates = BasisChanges(kept, find_spans(kept))
    examples = Examples(kept, coordinates, target, BatchOrder(32, 0.1, shuffle=True, seed=0))
    assert 32 < examples.window < N / 2
    orders = []
    for epoch in range(2):
        steps = range(epoch * examples.per_epoch, (epoch + 1) * examples.per_epoch)
        order = [row for step in steps for row in examples.rows(step).tolist()]
        assert sorted(order) == examples.learned.tolist()
        orders.append(order)
        for step in (steps[0], steps[-1], steps[7]):
            rows = examples.rows(step)
            for share in range(3):
                x, goal = examples.batch(step, Ranks(share, 3))
                own = rows[share::3]
                assert torch.equal(goal, target[torch.from_numpy(own)])
                assert all(map(torch.equal, x, coordinates(kept.take(own))))
    assert orders[0] != orders[1]


def test_a_training_from_disk_learns_as_well(store, c, small_memory):
    target = AlignerContract().target(c)
    settings = {"init": "random", "learning_rate": 0.01, "epochs": 3}
    assert CompAlign(**settings).fit(store, target).score(c, target) > 0.9
