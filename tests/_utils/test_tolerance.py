"""Copies of one image: that nothing varies is said, and no rounding is scored."""

import pytest
import torch
from vitdecomp_alignment import ClosedForm, CompAlign, LinearAlign, TextSpan

import vitdecomp as vd
from vitdecomp.testing import AlignerContract


def copies(noise, n=12):
    """Contributions of copies of one image, but for rounding, and others that differ a little."""
    one = AlignerContract().contributions(2).take([0] * n)
    rounding = torch.randn(one.values.shape, generator=torch.Generator().manual_seed(0))
    return vd.Contributions(one.values * (1 + noise * rounding), one.components, one.error)


def texts(c):
    return torch.randn(6, c.dimension, generator=torch.Generator().manual_seed(1)).to(c.values)


USES = {
    "scores": lambda c: vd.FeatureScorer().fit(c, {"a": texts(c)[:3], "b": texts(c)[3:]}),
    "names": lambda c: TextSpan(m=1).fit(c, texts(c)),
    "search": lambda c: vd.Retriever(c).search(vector=texts(c)[0], k=2),
    **{kind.__name__: lambda c, kind=kind: kind().fit(c, c.total()) for kind in (ClosedForm, CompAlign, LinearAlign)},
}


@pytest.mark.parametrize("use", USES)
def test_rounding_is_not_taken_for_a_difference(use):
    for noise in (0.0, 1e-7):
        with pytest.raises(vd.InputError, match="the same for all images"):
            USES[use](copies(noise))
    USES[use](copies(1e-2))
