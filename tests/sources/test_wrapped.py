"""What every source that wraps another one does."""

from __future__ import annotations

import torch
from vitdecomp_alignment import ClosedForm
from vitdecomp_alignment.aligners.linear_align import Summed

import vitdecomp as vd
from vitdecomp.sources.aligned import Aligned
from vitdecomp.sources.selection import Selection
from vitdecomp.sources.source import Source
from vitdecomp.sources.wrapped import WrappedSource
from vitdecomp.testing import AlignerContract


def contributions(n: int = 30, seed: int = 0) -> vd.Contributions:
    return AlignerContract().contributions(n, seed)


class WrappedSourceContract:
    """Inherit it, and say how a source is wrapped."""

    def wrap(self, source: vd.Contributions) -> WrappedSource:
        raise NotImplementedError

    def test_it_is_a_source_with_one_axis_of_components(self) -> None:
        wrapped = self.wrap(contributions())
        whole = wrapped.take(range(len(wrapped)))
        assert isinstance(wrapped, Source)
        assert whole.components == wrapped.components
        assert whole.values.shape == (len(wrapped), len(wrapped.components), wrapped.dimension)

    def test_parts_in_any_order_are_parts_of_the_whole(self) -> None:
        wrapped = self.wrap(contributions())
        whole, rows = wrapped.take(range(len(wrapped))).values, [4, 0, 7, 4]
        torch.testing.assert_close(wrapped.take(rows).values, whole[rows], rtol=0, atol=1e-5)

    def test_a_fingerprint_tells_contributions_and_settings_apart(self) -> None:
        source = contributions()
        wrapped, again, other = (self.wrap(s) for s in (source, contributions(), contributions(seed=1)))
        assert wrapped.fingerprint() == again.fingerprint()
        assert len({source.fingerprint(), wrapped.fingerprint(), other.fingerprint()}) == 3


class TestSelection(WrappedSourceContract):
    def wrap(self, source: vd.Contributions) -> WrappedSource:
        return Selection(source, tuple(range(20, 2, -2)))

    def test_other_rows_are_another_source(self) -> None:
        source = contributions()
        assert Selection(source, (1, 2)).fingerprint() != Selection(source, (2, 1)).fingerprint()


class TestAligned(WrappedSourceContract):
    def wrap(self, source: vd.Contributions) -> WrappedSource:
        return Aligned(source, ClosedForm().fit(source, source.total()[:, :5]))


class TestSummed(WrappedSourceContract):
    def wrap(self, source: vd.Contributions) -> WrappedSource:
        return Summed(source)
