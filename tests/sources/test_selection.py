"""Some images of a source are read as if they were all there is."""

import pytest
import torch
from made_up import write_made

import vitdecomp as vd
from vitdecomp.sources.selection import ScannedSelection, Selection, select_images
from vitdecomp.sources.source import Scanned
from vitdecomp.testing import AlignerContract

ROWS = (0, 3, 4, 5, 40, 41, 70, 99)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    c = AlignerContract().contributions(100)
    return vd.Store(write_made(tmp_path_factory.mktemp("selection") / "s.lance", c))


def test_a_selection_takes_what_the_source_has_there(store):
    for rows in (ROWS, (9, 2, 4)):
        some = select_images(store, rows)
        assert len(some) == len(rows)
        assert (some.components, some.dimension) == (store.components, store.dimension)
        assert torch.equal(some.take([2, 0]).values, store.take([rows[2], rows[0]]).values)
        assert some.fingerprint() != select_images(store, (*rows[:-1], 98)).fingerprint() != store.fingerprint()


@pytest.mark.parametrize("size", [1, 3, 64])
@pytest.mark.parametrize("rows", [None, range(2, 7), range(3, 3), range(7, 8)])
def test_a_scan_of_a_selection_is_that_of_its_images(store, size, rows):
    some = select_images(store, ROWS)
    assert isinstance(some, ScannedSelection)
    assert isinstance(some, Scanned)
    seen, wanted = [], rows or range(len(ROWS)) if rows is None else rows
    for block in some.scan(store.components, size, rows):
        seen += block.rows
        assert len(block.rows) <= size
        for component, part, scale in zip(store.components, block.parts, block.scales, strict=True):
            expected = torch.cat([store.coefficients(component, range(ROWS[i], ROWS[i] + 1)) for i in block.rows])
            assert torch.allclose(part.float() * scale, expected.float())
            assert torch.equal(some.coefficients(component, block.rows), expected)
            assert some.coefficients(component, range(0)).shape == (0, expected.shape[1])
    assert seen == [*wanted]


def test_other_sources_and_other_orders_are_not_scanned(store):
    assert type(select_images(store, (9, 2, 4))) is Selection
    c = store.take(range(10))
    assert torch.equal(select_images(c, (9, 2)).values, c.values[[9, 2]])
